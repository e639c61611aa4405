"""Part `backup`: nothing is lost in a guest whose backup did not succeed, and failures say why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from agency.machine import Completed, MachineError
from agency.spinup.targets.incus.parts import Shop, backup
from agency.spinup.targets.incus.parts.backup import UNITS, restored

EVENT = "$said-before"
SETTINGS = {"host": "throwaway", "stores": [{"path": "/var/lib/x/control.db", "audited": True}]}
HARM = ("rm --force ", " DELETE ")
ENDED = "ActiveState=inactive\nExecMainExitTimestampMonotonic=5\nResult=success\n"
FAILED = "ActiveState=failed\nExecMainExitTimestampMonotonic=5\nResult=exit-code\n"
IDLE = "ActiveState=inactive\nExecMainExitTimestampMonotonic=0\nResult=success\n"


@dataclass
class Simulated:
    """Guest that does what it is told, save what begins with `failing`, and units as they are."""

    failing: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    name: str = "agency-run-1"
    calls: list[str] = field(default_factory=list)

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = 0) -> Completed:
        self.calls.append(" ".join((*argv, stdin.decode())))
        status = int(argv[: len(self.failing)] == self.failing) if self.failing else 0
        said = b"Fatal: no room\n" if status else b""
        return Completed(
            status, b"journal of it\n" if argv[0] == "journalctl" else b"", said, False
        )

    async def run(self, *argv: str, stdin: bytes = b"", timeout_s: float = 0) -> bytes:
        self.calls.append(" ".join((*argv, stdin.decode())))
        if argv[:2] == ("systemctl", "show"):
            shown = f"Id={argv[-1]}\nCapabilityBoundingSet=\nUser=root\nExecMainStartTimestamp=@9\n"
            return (shown + self.units.get(argv[-1], ENDED)).encode()
        if argv[:2] == ("systemctl", "list-timers"):
            return b'[{"last": 9000001}]'
        return b"0\n"

    async def write(self, files: dict[object, object]) -> None:
        self.calls += [f"write {path}" for path in files]

    async def read(self, _path: object) -> bytes:
        return json.dumps(SETTINGS).encode()

    def harmed(self) -> bool:
        return any(word in f" {call} " for call in self.calls for word in HARM)


def shop(guest: Simulated) -> Shop:
    async def join(_alias: str) -> str:
        return "!room:agency.example"

    async def say(_room: str, _text: str, _txn: str) -> str:
        return EVENT

    operator = SimpleNamespace(join=join, say=say)
    subject = SimpleNamespace(control_room="#agency-control:agency.example")
    examination = SimpleNamespace(people=[operator], subject=subject)
    return cast("Shop", SimpleNamespace(guest=guest, examination=examination))


@pytest.mark.parametrize("unit", UNITS)
async def test_without_a_verified_backup_nothing_is_damaged(unit: str) -> None:
    guest = Simulated(units={unit: FAILED})
    with pytest.raises(MachineError) as raised:
        await restored(shop(guest))
    assert unit in str(raised.value)
    assert "journal of it" in raised.value.log_tail
    assert not guest.harmed()


@pytest.mark.parametrize("unit", UNITS)
async def test_a_timer_that_does_not_start_its_unit_is_told(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_UNIT_S", 0.0)
    guest = Simulated(units={unit: IDLE})
    with pytest.raises(MachineError, match="its timer did not run it") as raised:
        await restored(shop(guest))
    assert unit in str(raised.value)
    assert not guest.harmed()


async def test_a_restore_that_fails_says_why() -> None:
    guest = Simulated(("/opt/agency/bin/agency", "backup", "restore"))
    with pytest.raises(MachineError, match="no room"):
        await restored(shop(guest))
    assert guest.harmed(), "the control: both units succeeded"
    for unit in UNITS:
        timer = unit.replace(".service", ".timer")
        (place,) = {call.split()[-1] for call in guest.calls if f"/{timer}.d" in call} - {
            f"/run/systemd/system/{timer}.d/10-soon.conf"
        }
        order = [f"write {place}/10-soon.conf", f"systemctl start {timer} "]
        order += [f"systemctl stop {timer} ", f"rm --recursive {place} "]
        assert [call for call in guest.calls if call in order] == order
        assert f"systemctl start {unit} " not in guest.calls
    deletion = next(call for call in guest.calls if "DELETE" in call.split())
    assert f"--set=event={EVENT} " in deletion
    assert any(call.startswith("rm --force -- /var/lib/x/control.db ") for call in guest.calls)
    assert any("--yes-replace throwaway" in call for call in guest.calls)
