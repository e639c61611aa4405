"""Activation in a guest: nothing to do the second time, and a unit that fails is explained."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import pytest_asyncio

from agency.sandbox.contents import Contents
from agency.spinup.guest.machines.machine import Guest, GuestFile
from agency.spinup.guest.materials.layout import PREFIX, SOURCE
from agency.spinup.guest.materials.prepare import Materials

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[3]
CONTROL = "agency-control.service"
BREAK = PurePosixPath(f"/run/systemd/system/{CONTROL}.d/break.conf")
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
    await activated.run("systemctl", "stop", CONTROL)
    status, report = await activate(activated)
    assert status == 0
    assert [(change["kind"], change["what"]) for change in report["changes"]] == [("unit", CONTROL)]
    assert await activated.run("systemctl", "is-active", CONTROL) == b"active\n"


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
