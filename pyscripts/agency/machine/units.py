"""Units of a machine as its systemd shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agency.machine.machine import Machine, MachineError, run

_PROPERTIES = (
    *("Id", "LoadState", "ActiveState", "SubState", "Result", "MainPID", "NRestarts"),
    *("InvocationID", "MemoryCurrent"),
    *("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"),
)
_JOURNAL_LINES = 15
_MAX_FAILED = 5


@dataclass(frozen=True, slots=True)
class Unit:
    """State of a unit. `to_active_s` is the duration of its last start; memory is in bytes."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    pid: int
    restarts: int
    invocation: str
    memory: int | None
    to_active_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """Describe the unit as a transcript holds it."""
        return {
            "name": self.name,
            "load": self.load,
            "active": self.active,
            "sub": self.sub,
            "result": self.result,
            "pid": self.pid,
            "restarts": self.restarts,
            "memoryMb": None if self.memory is None else round(self.memory / 2**20, 1),
            "toActiveS": self.to_active_s,
        }


async def show(machine: Machine, names: Iterable[str]) -> dict[str, Unit]:
    """Read units by name; one that does not exist is included, and its `load` says so.

    Raises:
        MachineError: systemd does not answer.
    """
    wanted = sorted(set(names))
    found = read_all(await run(machine, *show_argv(wanted)))
    return dict(zip(wanted, found, strict=True))


def show_argv(names: Iterable[str]) -> tuple[str, ...]:
    """Make the call that shows units."""
    return ("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names)


def read_all(output: bytes) -> list[Unit]:
    """Read all units from the output of `systemctl show`, in their order."""
    return [read(block) for block in output.decode().strip().split("\n\n")]


def read(block: str) -> Unit:
    """Read one unit from the output of `systemctl show`."""
    facts = dict(line.partition("=")[::2] for line in block.splitlines())
    return Unit(
        name=facts["Id"],
        load=facts["LoadState"],
        active=facts["ActiveState"],
        sub=facts["SubState"],
        result=facts.get("Result", ""),
        pid=int(facts.get("MainPID") or 0),
        restarts=int(facts.get("NRestarts") or 0),
        invocation=facts.get("InvocationID", ""),
        memory=_number(facts.get("MemoryCurrent")),
        to_active_s=_start(facts),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() and int(text) < 2**63 else None


def _start(facts: dict[str, str]) -> float | None:
    began = _number(facts.get("InactiveExitTimestampMonotonic"))
    ended = _number(facts.get("ActiveEnterTimestampMonotonic"))
    if not began or not ended or ended < began:
        return None
    return round((ended - began) / 1e6, 3)


async def failed(machine: Machine) -> tuple[str, ...]:
    """List the names of the units that have failed."""
    argv = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
    lines = (await run(machine, *argv)).decode(errors="replace").splitlines()
    return tuple(line.split()[0] for line in lines if line.strip())


async def journal(machine: Machine, unit: str, lines: int = _JOURNAL_LINES) -> tuple[str, ...]:
    """Read the end of a unit's journal of this boot."""
    argv = ("journalctl", "--boot", "--no-pager", "--quiet", "--output=short-iso")
    done = await machine.look(*argv, f"--lines={lines}", f"--unit={unit}")
    return tuple(done.stdout.decode(errors="replace").splitlines())


async def failure(machine: Machine, units: Iterable[str]) -> MachineError:
    """Make the error for units that are not in the wanted state, with the end of their journals."""
    names = tuple(units)
    tail: list[str] = []
    for unit in names[:_MAX_FAILED]:
        tail += [f"{unit}:", *await journal(machine, unit)]
    return MachineError(
        f"failed: {', '.join(names)}",
        where=machine.name,
        hint="the log holds the end of each unit's journal",
        log_tail=tuple(tail),
    )
