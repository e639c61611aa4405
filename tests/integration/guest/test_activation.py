"""Activation in a guest: nothing to do the second time, and a unit that fails is explained."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import pytest_asyncio

from agency.guests.images.layout import PREFIX, SOURCE
from agency.guests.images.prepare import Materials
from agency.guests.machines.machine import Guest, GuestFile
from agency.sandbox.contents import Contents

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[3]
CONTROL, SOCKET = "agency-control.service", "agency-control.socket"
# Where packages put theirs, which an activation leaves alone.
BREAK = PurePosixPath(f"/usr/lib/systemd/system/{CONTROL}.d/break.conf")
WEAKEN = PurePosixPath(f"/run/systemd/system/{CONTROL}.d/override.conf")
UNITS = PurePosixPath("/etc/systemd/system")
GHOST = "agency-agent@ghost.service"
LOOPS = b"""[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/bin/false
Restart=always
RestartSec=15
"""
OLD_SERVICE = b"[Service]\nType=oneshot\nExecStart=/bin/true\n"
OLD_TIMER = b"[Timer]\nOnActiveSec=1h\n[Install]\nWantedBy=timers.target\n"
BROKEN = b"""[Service]
Restart=no
ExecStart=
ExecStart=sh -c 'echo the tea is cold; exit 7'
"""
ENDS_SOON = b"""[Service]
Restart=no
ExecStart=
ExecStart=sh -c 'sleep 1; echo the tea is gone; exit 8'
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def activated(guest: Guest, materials: Materials) -> Guest:
    """A guest with the exported units."""
    await Contents(materials.image.directory.parents[1]).activate(guest, ROOT)
    return guest


async def activate(guest: Guest) -> tuple[int, dict[str, Any]]:
    """Its exit status and what it reports."""
    done = await guest.look(
        *(str(PREFIX / "bin" / "agency"), "activate", "--json"),
        *("--portable", str(SOURCE / "modules/portable"), "--instance", str(SOURCE / "instance")),
        timeout_s=150,
    )
    report: dict[str, Any] = json.loads(done.stdout or done.stderr)
    return done.exit_status, report


async def test_a_second_activation_changes_nothing(activated: Guest) -> None:
    status, report = await activate(activated)
    assert (status, report["changes"]) == (0, [])
    control = next(unit for unit in report["units"] if unit["name"] == CONTROL)
    assert (control["active"], control["sub"]) == ("active", "running")


async def test_a_unit_that_was_stopped_runs_again(activated: Guest) -> None:
    """And its socket, by which a message in the room would start it."""
    await activated.run("systemctl", "stop", SOCKET, CONTROL)
    status, report = await activate(activated)
    assert status == 0
    changes = [(change["kind"], change["what"]) for change in report["changes"]]
    assert changes == [("unit", SOCKET), ("unit", CONTROL)]
    assert await activated.run("systemctl", "is-active", SOCKET, CONTROL) == b"active\nactive\n"


async def test_a_changed_socket_leaves_its_service_running(activated: Guest) -> None:
    """It cannot be restarted under a service that has it, and nobody may connect for a while."""
    place = UNITS / SOCKET
    await activated.write({place: GuestFile(await activated.read(place) + b"# by hand\n")})
    status, report = await activate(activated)
    assert status == 0
    assert ("unit", SOCKET) in {(change["kind"], change["what"]) for change in report["changes"]}
    for unit in (SOCKET, CONTROL):
        assert await active(activated, unit) == "active"


async def active(guest: Guest, unit: str) -> str:
    seen = await guest.run("systemctl", "show", "--property=ActiveState", "--value", unit)
    return seen.decode().strip()


async def test_an_override_at_run_time_is_removed(activated: Guest) -> None:
    await activated.write({WEAKEN: GuestFile(b"[Service]\nProtectHome=no\n")})
    await activated.run("systemctl", "daemon-reload")
    await activated.run("systemctl", "restart", CONTROL)
    shown = ("systemctl", "show", "--property=ProtectHome", "--value", CONTROL)
    assert await activated.run(*shown) == b"no\n"
    status, report = await activate(activated)
    assert status == 0
    assert (str(WEAKEN)[1:], "absent") in {(c["what"], c["to"]) for c in report["changes"]}
    assert await activated.run(*shown) != b"no\n"
    assert await active(activated, CONTROL) == "active"


async def test_an_agent_that_is_gone_is_not_started_again(activated: Guest) -> None:
    await activated.write({UNITS / f"{GHOST}.d/50-agency.conf": GuestFile(LOOPS)})
    await activated.run("systemctl", "daemon-reload")
    await activated.run("systemctl", "start", "--no-block", GHOST)
    await activated.run("sleep", "1")
    assert await active(activated, GHOST) == "activating"  # it waits for its next start
    status, report = await activate(activated)
    assert status == 0
    assert ("unit", GHOST, "absent") in {(c["kind"], c["what"], c["to"]) for c in report["changes"]}
    assert await active(activated, GHOST) in {"inactive", "failed"}
    assert await active(activated, CONTROL) == "active"


async def test_a_timer_that_is_gone_is_stopped_and_its_link_removed(activated: Guest) -> None:
    place, link = UNITS / "agency-old.timer", UNITS / "timers.target.wants/agency-old.timer"
    await activated.write(
        {place: GuestFile(OLD_TIMER), UNITS / "agency-old.service": GuestFile(OLD_SERVICE)}
    )
    await activated.run("systemctl", "enable", "--now", "agency-old.timer")
    assert await active(activated, "agency-old.timer") == "active"
    status, _ = await activate(activated)
    assert status == 0
    assert await active(activated, "agency-old.timer") == "inactive"
    for path in (place, link):
        assert (await activated.look("test", "-L", str(path))).exit_status == 1
        assert (await activated.look("test", "-e", str(path))).exit_status == 1
    assert (await activate(activated))[1]["changes"] == []


async def test_a_unit_that_fails_is_named_with_its_journal(activated: Guest) -> None:
    await activated.run("systemctl", "stop", CONTROL)
    await activated.write({BREAK: GuestFile(BROKEN)})
    await activated.run("systemctl", "daemon-reload")
    status, report = await activate(activated)
    assert status == 1
    error = report["error"]
    assert error["kind"] == "ActivationError"
    assert CONTROL in error["message"]
    assert any("the tea is cold" in line for line in error["log_tail"])
    assert any("systemd[1]" in line and "status=7" in line for line in error["log_tail"])
    await activated.run("rm", str(BREAK))
    await activated.run("systemctl", "daemon-reload")
    assert (await activate(activated))[0] == 0
    assert await activated.run("systemctl", "is-active", CONTROL) == b"active\n"


async def test_a_unit_that_ends_a_moment_after_its_start_is_named(activated: Guest) -> None:
    await activated.run("systemctl", "stop", CONTROL)
    await activated.write({BREAK: GuestFile(ENDS_SOON)})
    await activated.run("systemctl", "daemon-reload")
    status, report = await activate(activated)
    assert status == 1
    assert CONTROL in report["error"]["message"]
    assert any("the tea is gone" in line for line in report["error"]["log_tail"])
    await activated.run("rm", str(BREAK))
    await activated.run("systemctl", "daemon-reload")
    assert (await activate(activated))[0] == 0
    assert await activated.run("systemctl", "is-active", CONTROL) == b"active\n"
