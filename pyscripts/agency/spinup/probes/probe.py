"""A probe is one unit: its name, what it is told, and the function that looks.

    @probe("store.schema", Nothing, at=Moment.RECORDS)
    def schema(here: Here, told: Nothing) -> Evidence: ...

It runs on the machine that it is about: in this process for a local agency, else by
`agency observe NAME` there. The rule of its name in transcript/rules judges the evidence.

    examination ──▶ Subject.observe(name, told) ──▶ run(here, name, told) ──▶ the function
                                          └─▶ agency observe, elsewhere ─▶┘
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, cast

from pydantic import Field

from agency.errors import UsageError
from agency.secrets import SecretValue
from agency.settings import Strict
from agency.spinup.record import Evidence

Pid = Annotated[int, Field(gt=1)]


@dataclass(frozen=True, slots=True)
class Identity:
    """Instance that a machine runs, by its own settings."""

    name: str
    domain: str


class Here(Protocol):
    """The machine that a probe looks at, from inside."""

    @property
    def identity(self) -> Identity:
        """The instance that the machine runs."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Every agent's port by its name."""

    @property
    def database(self) -> Path:
        """The control plane's SQLite file; raises BadInputError for a store of another kind."""

    @property
    def journal(self) -> tuple[str, ...]:
        """The program that prints the machine's journal; empty where logs are files."""

    def tokens(self) -> Mapping[str, SecretValue]:
        """Read the tokens of the agents that run, by their names."""

    def files(self) -> list[Path]:
        """List the files in which a secret in plain text would be a leak."""

    def pids(self) -> list[int]:
        """List the processes whose arguments and environments must not hold a secret."""


class Nothing(Strict):
    """Input of a probe that needs to be told nothing; base of all inputs."""


class Pids(Nothing):
    """Processes by their names."""

    pids: dict[str, Pid]


ToldT = TypeVar("ToldT", bound=Nothing)
Look = Callable[[Here, ToldT], Evidence | Awaitable[Evidence]]


class Moment(Enum):
    """Moments of a spin-up at which every probe that asks for it is taken."""

    RECORDS = "records"  # the conversation is over, and everything still runs


@dataclass(frozen=True, slots=True)
class Probe:
    """A registered probe. `told` is the model of its input; one with a moment is told nothing."""

    name: str
    told: type[Nothing]
    look: Look[Any]
    summary: str
    moment: Moment | None


_PROBES: dict[str, Probe] = {}


def probe(
    name: str, told: type[ToldT], *, at: Moment | None = None
) -> Callable[[Look[ToldT]], Look[ToldT]]:
    """Register a function as the probe of that name.

    With a moment, every spin-up takes it then and puts it on record under its name.
    """

    def register(look: Look[ToldT]) -> Look[ToldT]:
        summary = (inspect.getdoc(look) or "").partition("\n")[0]
        _PROBES[name] = Probe(name, told, look, summary, at)
        return look

    return register


def probes() -> Mapping[str, Probe]:
    """Load every probe of this package, by name."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return _PROBES


def taken_at(moment: Moment) -> tuple[str, ...]:
    """List the probes of a moment, in the order of their files and places there."""
    return tuple(unit.name for unit in probes().values() if unit.moment is moment)


def find(name: str) -> Probe:
    """Find a probe.

    Raises:
        UsageError: there is none of that name.
    """
    found = probes().get(name)
    if found is None:
        raise UsageError(
            f"there is no probe {name!r}", where="NAME", hint="`agency observe --list` names them"
        )
    return found


async def run(here: Here, name: str, told: Mapping[str, object] | Nothing) -> Evidence:
    """Look at this machine. A function that is no coroutine runs in a thread.

    Raises:
        UsageError: there is no such probe. ValidationError: `told` is not its input.
        AgencyError, OSError, aiohttp.ClientError: what it looks at cannot be observed.
    """
    unit = find(name)
    given = told if isinstance(told, Nothing) else unit.told.model_validate(dict(told))
    if inspect.iscoroutinefunction(unit.look):
        return cast("Evidence", await unit.look(here, given))
    return cast("Evidence", await asyncio.to_thread(unit.look, here, given))
