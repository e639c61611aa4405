"""The guest that several files of tests share: what one of them leaves there is found."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from sharing import Shared

from agency.guests.machines.machine import Guest, GuestFile

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = PurePosixPath("/opt/left-over")
UNIT = PurePosixPath("/etc/systemd/system/left-over.service")


async def test_what_is_left_in_the_shared_guest_is_found(guest: Guest, shared: Shared) -> None:
    assert await shared.changes(guest) == []
    await guest.write({FILE: GuestFile(b"one"), UNIT: GuestFile(b"[Service]\nExecStart=true\n")})
    await guest.run("useradd", "--system", "left-over")
    await guest.run("systemd-run", "--unit=left-running", "sleep", "600")
    await guest.look("systemd-run", "--unit=left-failed", "--wait", "false")
    told = await shared.changes(guest)
    for kind in (f"+ {FILE} f 3 644 0 0", f"+ {UNIT.name} static", "+ left-over:x:"):
        assert [line for line in told if line.startswith(kind)], (kind, told)
    assert "+ left-running.service loaded active running" in told
    assert "+ left-failed.service loaded failed failed" in told
    await guest.run("systemctl", "stop", "left-running")
    await guest.run("systemctl", "reset-failed", "left-failed")
    await guest.run("userdel", "left-over")
    await guest.run("rm", str(FILE), str(UNIT))
    await guest.run("systemctl", "daemon-reload")
    assert await shared.changes(guest) == []


async def test_a_file_that_is_changed_or_gone_is_found(guest: Guest, shared: Shared) -> None:
    """Where people configure, by what it holds."""
    place = PurePosixPath("/etc/hosts")
    before = await guest.read(place)
    for changed in (before.swapcase(), None):
        if changed is None:
            await guest.run("mv", str(place), "/run/hosts")
        else:
            await guest.write({place: GuestFile(changed)})
        assert [line for line in await shared.changes(guest) if f" {place}" in line]
        await guest.write({place: GuestFile(before)})
        assert await shared.changes(guest) == []
    await guest.run("rm", "/run/hosts")
