"""Frame of every probe of a service: the instance of this machine, and the service's units."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict

from agency.machine import Unit, units
from agency.programs import run_program
from agency.spinup.probes.probe import Here
from agency.spinup.record import Evidence

_ASK_S = 20.0


async def show(names: Iterable[str]) -> list[Unit]:
    """Read units of this machine; one that does not exist says so by its `load`.

    Raises:
        ProgramError, PrerequisiteError: there is no systemd, or it does not answer.
    """
    argv = units.show_argv(names)
    output = await asyncio.to_thread(run_program, argv, timeout=_ASK_S)
    return units.read_all(output)


async def frame(here: Here, *names: str) -> Evidence:
    """Describe the instance of this machine and the states of units."""
    shown = await show(names)
    return {"instance": asdict(here.identity), "units": [unit.as_dict() for unit in shown]}
