"""What a guest is to have is read on this side; what it has, there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agency.canonical import sha256_hex
from agency.guests.activation.definitions import Definitions, WantedFile
from agency.machine import digests
from agency.machine.machine import Completed
from agency.spinup.convergence import Converging
from agency.spinup.expected import by_definitions, by_export
from agency.spinup.remote import agent_units
from agency.transcript.rules.v1.services import ALWAYS_ENDING, ALWAYS_RUNNING
from agency.transcript.rules.v2.judge import PROBES

PORTABLE = Path(__file__).resolve().parents[3] / "modules" / "portable"
UNITS = (*ALWAYS_RUNNING, *ALWAYS_ENDING)
ENDS = "[Service]\nType=oneshot\nRemainAfterExit=false\n"
STAYS = "[Service]\nType=oneshot\nRemainAfterExit=true\n"


def wanted() -> Definitions:
    texts = {f"etc/systemd/system/{name}": STAYS for name in ALWAYS_RUNNING}
    texts |= {f"etc/systemd/system/{name}": ENDS for name in ALWAYS_ENDING}
    texts["etc/agency/control.json"] = "{}"
    files = {path: WantedFile(path, text.encode()) for path, text in texts.items()}
    return Definitions(files, UNITS, ("pm",), needs_age_key=False)


@dataclass
class SimulatedMachine:
    """A simulated machine with files, on which sha256sum, systemctl and ps are called."""

    files: dict[str, bytes]
    processes: bytes = b""
    states: Mapping[str, str] = field(default_factory=dict)
    invocation: str = "ab" * 16
    name: str = "simulated"

    async def look(self, *argv: str, **_: Any) -> Completed:
        if argv[0] == "ps":
            return Completed(0, self.processes, b"", truncated=False)
        names = argv[argv.index("--") + 1 :]
        if argv[0] == "systemctl":
            shown = "\n\n".join(map(self._shown, names))
            return Completed(0, shown.encode(), b"", truncated=False)
        there = [(name, self.files[name[1:]]) for name in names if name[1:] in self.files]
        lines = "".join(f"{sha256_hex(content)}  {name}\n" for name, content in there)
        return Completed(int(len(there) < len(names)), lines.encode(), b"", truncated=False)

    def _shown(self, name: str) -> str:
        active = self.states.get(name, "active")
        return (
            f"Id={name}\nLoadState=loaded\nActiveState={active}\nSubState=running\n"
            f"InvocationID={self.invocation}\nMainPID=4720"
        )


@dataclass
class Activates:
    """An activation that says that all is well."""

    async def activate(self, *, check: bool = False) -> dict[str, Any]:
        assert not check
        units = [{"name": name, "active": "active", "sub": "running"} for name in UNITS]
        meant = by_definitions(wanted()).files
        return {"changed": True, "units": units, "digests": meant, "seconds": 1.0}


def converging(machine: SimulatedMachine) -> Converging:
    return Converging(machine, Activates(), (), by_definitions(wanted()))  # type: ignore[arg-type]


def laid_down() -> dict[str, bytes]:
    return {path: file.content for path, file in wanted().files.items()}


def test_units_stay_or_end_by_their_definitions() -> None:
    expected = by_definitions(wanted())
    assert expected.running == tuple(sorted(ALWAYS_RUNNING))
    assert expected.ending == ALWAYS_ENDING
    exported = by_export(PORTABLE, [*UNITS, "agency-secrets.service"])
    assert exported.running == tuple(sorted((*ALWAYS_RUNNING, "agency-secrets.service")))
    assert exported.ending == ALWAYS_ENDING
    assert exported.files is None


async def test_files_that_are_as_defined_hold() -> None:
    seen = await converging(SimulatedMachine(laid_down())).activate()
    assert PROBES["activation.first"].judge(seen).reason == ""
    assert seen["differing"] == []


@pytest.mark.parametrize("path", ["etc/agency/control.json", "etc/systemd/system/nftables.service"])
async def test_what_is_not_on_the_disk_is_not_evidence(path: str) -> None:
    """An activation that says what it meant to lay down and does not."""
    files = laid_down()
    del files[path]
    seen = await converging(SimulatedMachine(files)).activate()
    assert path not in seen["digests"]
    assert seen["differing"] == [path]
    assert not PROBES["activation.first"].judge(seen).ok


async def test_what_is_another_on_the_disk_does_not_hold() -> None:
    files = laid_down()
    files["etc/agency/control.json"] += b"\n"
    seen = await converging(SimulatedMachine(files)).activate()
    assert seen["digests"]["etc/agency/control.json"] == sha256_hex(b"{}\n")
    assert "not those of the definitions" in PROBES["activation.first"].judge(seen).reason
    assert seen["differing"] == ["etc/agency/control.json"]


async def test_a_unit_that_does_not_run_has_no_invocation_that_counts() -> None:
    machine = SimulatedMachine(laid_down())
    again = {**await converging(machine).again(), "changed": False, "changes": []}
    assert PROBES["activation.again"].judge(again).reason == ""
    machine.invocation = ""
    again = {**await converging(machine).again(), "changed": False, "changes": []}
    assert "invocation" in PROBES["activation.again"].judge(again).reason


def test_names_that_sha256sum_escapes_are_read_back() -> None:
    summed = b"0a  /etc/a.service\n\\0b  /etc/dev-disk-by\\\\x2dlabel.mount\n"
    assert digests.digests_from(summed) == {
        "etc/a.service": "0a",
        "etc/dev-disk-by\\x2dlabel.mount": "0b",
    }


SLICE = "0::/agency.slice/agency-agents.slice/agency-agents-pm.slice"
PROCESSES = f"""\
      1 0::/init.scope
   4720 {SLICE}/agency-agent@pm.service
   4721 {SLICE}/agency-agent@pm.service/children
   4722 {SLICE}/agency-agent-browser@pm.service
   4723 1:name=systemd:{SLICE[3:]}/agency-agent@pm.service,0::/
   4724 {SLICE}/agency-agent@pm.service.d
""".encode()
ANSWERED = {"agents": [{"name": "pm", "pid": 4720}]}


def test_processes_are_counted_by_their_control_group() -> None:
    names = ["agency-agent@pm.service", "agency-agent@developer.service"]
    assert agent_units.processes_in(PROCESSES, names) == {names[0]: 3, names[1]: 0}


@pytest.mark.parametrize(("processes", "count"), [(PROCESSES, 3), (b"", 0)])
@pytest.mark.parametrize("active", ["active", "inactive"])
async def test_an_agent_is_shown_with_its_unit_and_what_is_in_that(
    processes: bytes, count: int, active: str
) -> None:
    name = "agency-agent@pm.service"
    machine: Any = SimulatedMachine({}, processes=processes, states={name: active})
    (agent,) = (await agent_units.with_units(machine, ANSWERED))["agents"]
    unit = {"name": name, "active": active, "pid": 4720, "processes": count}
    assert agent == {"name": "pm", "pid": 4720, "unit": unit}
