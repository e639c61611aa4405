"""systemd timer that ends leases: the exported unit, or a transient one that does the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbus_fast import Variant

from agency.guests import DIRECTORY_VARIABLE
from agency.paths import SANDBOX_VARIABLE
from agency.systemd import Connection, SystemdError, Units

SERVICE = "agency-sandbox-expire.service"
TIMER = "agency-sandbox-expire.timer"

_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_DESCRIPTION = "End the leases of sandboxes that are over"
_WHEN = "*:0/5"  # as in modules/sandbox.nix
_START_S = 30.0
_LIMIT_US = 10 * 60 * 1_000_000
# The timer knows only the usual places.
_ELSEWHERE = (SANDBOX_VARIABLE, DIRECTORY_VARIABLE, "INCUS_SOCKET", "INCUS_DIR")


async def arm(environ: Mapping[str, str] = os.environ, booted: Path = _BOOTED) -> str | None:
    """Start the timer; return None, or the reason why no timer ends the leases made here."""
    why = _why_not(environ, booted)
    if why is not None:
        return why
    connection = Connection()
    try:
        await _start(connection)
    except SystemdError as error:
        return f"the timer {TIMER} could not be started: {error.message}"
    finally:
        await connection.close()
    return None


def _why_not(environ: Mapping[str, str], booted: Path) -> str | None:
    if os.geteuid() != 0:
        return "only root's leases are ended by a timer"
    moved = [name for name in _ELSEWHERE if environ.get(name)]
    if moved:
        return f"the timer does not use {moved[0]}"
    if not booted.is_dir():
        return "systemd does not run this machine"
    return None


async def _start(connection: Connection) -> None:
    units = Units(connection)
    state = (await units.states([TIMER]))[TIMER]
    if state.active == "active":
        return
    if state.load == "loaded":
        await units.enable(TIMER)
        await units.start(TIMER, timeout_s=_START_S)
        return
    # The exported units are not installed here: make a timer that lasts until the next boot.
    timer = [_property("Description", "s", _DESCRIPTION)]
    timer.append(_property("TimersCalendar", "a(ss)", [["OnCalendar", _WHEN]]))
    argv = [sys.executable, "-m", "agency", "sandbox", "expire"]
    service = [
        _property("Description", "s", _DESCRIPTION),
        _property("Type", "s", "oneshot"),
        _property("TimeoutStartUSec", "t", _LIMIT_US),
        _property("ExecStart", "a(sasb)", [[argv[0], argv, False]]),
    ]
    await connection.manager(
        *("StartTransientUnit", "ssa(sv)a(sa(sv))", TIMER, "fail", timer, [[SERVICE, service]]),
        where=TIMER,
    )


def _property(name: str, signature: str, value: Any) -> list[Any]:
    return [name, Variant(signature, value)]
