"""Services around a restore in place: all that ran runs again, in an order that systemd takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agency.backup.restoring.services import start_all, start_order, stop_all
from agency.errors import PrerequisiteError

STOPPED = ("a.socket", "a.service", "b.socket", "b.service", "c.service", "d.socket")


@dataclass
class Systemd:
    """systemd, as far as units are started and stopped; like it, it refuses a late socket."""

    active: set[str] = field(default_factory=set)

    async def running(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in self.active)

    async def stop(self, name: str) -> None:
        self.active.discard(name)

    async def start(self, name: str) -> None:
        service = name.replace(".socket", ".service")
        if name.endswith(".socket") and service in self.active:
            raise PrerequisiteError("its service is active already", where=name)
        self.active.add(name)


def test_a_socket_is_started_before_its_service() -> None:
    order = ("d.socket", "c.service", "b.socket", "b.service", "a.socket", "a.service")
    assert start_order(STOPPED) == order
    assert start_order(()) == ()
    assert start_order(("a.service",)) == ("a.service",), "a socket that did not run stays so"


async def test_what_ran_runs_again(tmp_path: Path) -> None:
    systemd = Systemd({*STOPPED})
    ran = await stop_all(systemd, STOPPED, tmp_path / "stopped.json")
    assert systemd.active == set()
    await systemd.start("a.service")
    with pytest.raises(PrerequisiteError):  # the control: that order is refused
        await systemd.start("a.socket")
    await stop_all(systemd, STOPPED, tmp_path / "stopped.json")
    await start_all(systemd, ran)
    assert systemd.active == {*STOPPED}
