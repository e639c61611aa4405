"""Asking another machine: its units, and a program that ends between two questions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agency.machine import units
from agency.machine.machine import MachineError
from agency.spinup.remote.asking import Observer

BLOCK = """\
Id=agency-control.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
MainPID=180
NRestarts=2
InvocationID=0123456789abcdef0123456789abcdef
MemoryCurrent=85000000
CPUUsageNSec=[not set]
ExecMainStatus=0
InactiveExitTimestampMonotonic=2000000
ActiveEnterTimestampMonotonic=2125000
"""


def test_a_unit_is_read_as_systemd_shows_it() -> None:
    unit = units.read(BLOCK)
    assert unit.as_dict() == {
        "name": "agency-control.service",
        "load": "loaded",
        "active": "active",
        "sub": "running",
        "result": "success",
        "pid": 180,
        "restarts": 2,
        "memoryMb": 81.1,
        "toActiveS": 0.125,
    }


@pytest.mark.parametrize("memory", ["[not set]", "18446744073709551615", ""])
def test_what_systemd_does_not_count_is_not_made_up(memory: str) -> None:
    assert units.read(BLOCK.replace("85000000", memory)).memory is None


def test_a_unit_that_never_started_took_no_time() -> None:
    never = BLOCK.replace("2125000", "0").replace("2000000", "0")
    assert units.read(never).to_active_s is None


@dataclass
class SimulatedMachine:
    """A simulated machine: every program on it gives its answers in turn, then ends."""

    programs: list[list[bytes]]
    started: int = 0
    ended: int = 0
    asked: list[bytes] = field(default_factory=list)
    name: str = "simulated"

    @contextlib.asynccontextmanager
    async def dialogue(self, *argv: str) -> AsyncIterator[Any]:
        assert argv == ("agency", "observe", "--follow")
        answers = self.programs[self.started]
        self.started += 1
        machine = self

        class Lines:
            async def ask(self, line: bytes, *, timeout_s: float) -> bytes:
                assert timeout_s > 0
                machine.asked.append(line)
                if not answers:
                    raise MachineError("it has ended", where=machine.name)
                return answers.pop(0)

        try:
            yield Lines()
        finally:
            self.ended += 1


def said(**evidence: object) -> bytes:
    return json.dumps({"evidence": evidence}).encode()


async def test_one_program_answers_everything() -> None:
    machine = SimulatedMachine([[said(count=1), said(count=2)]])
    observer = Observer(machine, "agency")  # type: ignore[arg-type]
    assert await observer.ask("audit.count") == {"count": 1}
    assert await observer.ask("audit.count") == {"count": 2}
    await observer.close()
    assert (machine.started, machine.ended) == (1, 1)


async def test_a_program_that_ended_is_started_anew_and_asked_again() -> None:
    machine = SimulatedMachine([[said(count=1)], [said(count=2)]])
    observer = Observer(machine, "agency")  # type: ignore[arg-type]
    await observer.ask("audit.count")
    assert await observer.ask("audit.count") == {"count": 2}
    assert (machine.started, machine.ended) == (2, 1)
    await observer.close()


async def test_one_that_never_answers_is_not_asked_for_ever() -> None:
    machine = SimulatedMachine([[], []])
    observer = Observer(machine, "agency")  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="it has ended"):
        await observer.ask("audit.count")
    assert machine.started == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"bash: agency: command not found", "is not one of"),
        (b'{"answers": []}', "is not one of"),
        (b"[]", "is not one of"),
        (b'{"evidence": null, "error": "no such row"}', "no such row"),
        (b'{"evidence": null}', "no evidence"),
    ],
)
async def test_what_is_no_evidence_is_an_error(answer: bytes, words: str) -> None:
    observer = Observer(SimulatedMachine([[answer]]), "agency")  # type: ignore[arg-type]
    with pytest.raises(MachineError, match=words):
        await observer.ask("audit.count")
    await observer.close()
