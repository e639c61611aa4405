"""Parts of a profile (`--with NAME`): what a guest runs and shows beside what every guest does.

    parts/NAME ── make() ──▶ Part      adapt, secrets      the run's instance
                               │       packages, exported  what the guest is made of
                               │       bring, activated    what its units need, and wait for
                               │       reach               the way of people into it
                               └       at                  probes, at the end of a step

A part is found by its file or folder here. Its probes are mandatory when it is asked for: their
rules stand under its name in `PARTS` of the transcript's rules. What of it the NixOS modules
declare is exported to modules/portable/parts/NAME.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from agency.guests import Guest
    from agency.instance import Instance
    from agency.secrets import SecretValue
    from agency.spinup.examination import Examination
    from agency.spinup.record import Evidence
    from agency.spinup.remote.asking import Observer
    from agency.spinup.remote.subject import Entrance
    from agency.spinup.run import Run
    from agency.spinup.targets.incus.secrets import RunSecrets


@dataclass(frozen=True, slots=True)
class Shop:
    """An activated guest, as the parts see it.

    Attributes:
        homeserver: The homeserver's own port, forwarded to this machine: no edge before it.
        directory: Files of the run, which are removed at its end.
        examination: The examination of the agency; None until people have accounts.
    """

    run: Run
    guest: Guest
    observer: Observer
    secrets: RunSecrets = field(repr=False)
    homeserver: str
    directory: Path
    examination: Examination | None = None

    @property
    def instance(self) -> Instance:
        """The instance of the run."""
        return self.secrets.loaded.instance

    async def observe(self, probe: str, told: Mapping[str, object]) -> Evidence:
        """Run a probe in the guest. Secrets travel by standard input alone.

        Raises:
            AgencyError: it cannot look.
        """
        return await self.observer.ask(probe, told)


class Part:
    """Base of the parts: every hook does nothing. One object serves one run."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()  # of Debian, beside those of the image
    # Likewise, but their files alone: users and units of theirs would be in the way.
    unpacked: ClassVar[tuple[str, ...]] = ()
    exported: ClassVar[bool] = False  # whether it has definitions in modules/portable/parts
    programs: ClassVar[Mapping[str, str]] = {}  # of this machine, each with how to get it
    supplies: Path | None = None  # directory of a person, with what a guest cannot fetch
    simulated: Collection[str] = ()  # probes of what a stand-in of a program has made

    def refuse_lacking(self) -> None:
        """Look whether this machine has what the part needs, before anything is made.

        Raises:
            PrerequisiteError: something is missing.
        """

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """Change the run's instance.yaml, as loaded."""

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:  # noqa: ARG002
        """Make the external secrets that the part needs, by their names."""
        return {}

    async def bring(self, guest: Guest) -> None:
        """Put into the fresh guest what the part's units need, before they are started."""

    async def activated(self, guest: Guest) -> None:
        """Go on with what the activation has started, until the part can be looked at."""

    async def reach(self, shop: Shop) -> Entrance | None:  # noqa: ARG002
        """Open another way for people into the homeserver, and look at it; None for no other."""
        return None

    async def at(self, step: str, shop: Shop) -> None:
        """Take the part's probes at the end of a step, from `probe` on."""


def known_parts() -> tuple[str, ...]:
    """List the names of all parts."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def make_part(name: str, supplies: Path | None = None) -> Part:
    """Make a part by its name."""
    make: Callable[[], Part] = importlib.import_module(f"{__name__}.{name}").make
    part = make()
    part.supplies = supplies
    return part
