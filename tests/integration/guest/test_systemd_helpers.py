"""The shared helpers for systemd and its journal, on a machine that systemd has booted."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import pytest_asyncio

from agency.guests.images.layout import PREFIX
from agency.guests.machines.machine import Guest, GuestFile

pytestmark = pytest.mark.asyncio(loop_scope="module")

PYTHON = str(PREFIX / "bin" / "python")
ETC = PurePosixPath("/etc/systemd/system")
WORDS = PurePosixPath("/opt/words.py")
UNITS = {
    "fine": "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    "once": "[Service]\nType=oneshot\nExecStart=true\n",
    "stays": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n",
    "bad": "[Service]\nType=oneshot\nExecStart=sh -c 'exit 7'\n",
    "slow": "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=sleep infinity\n",
    "again": "[Service]\nExecStart=false\nRestart=always\nRestartSec=600\n",
    "wordy": f"[Service]\nType=oneshot\nExecStart={PYTHON} {WORDS}\n",
}
LONG = "x" * 10_000
TEXT = rf"""
import sys
print("{LONG}", flush=True)
sys.stdout.buffer.write(b"\xff\x1b\n")
print("the last")
"""

FRAME = """
import asyncio, json
from dataclasses import asdict
from agency.systemd import journal
from agency.systemd.connection import Connection
from agency.systemd.errors import SystemdError
from agency.systemd.units import Units, connected

async def main():
    seen = {}
    async def tried(work):
        try:
            return await work
        except SystemdError as error:
            return [type(error).__name__, error.where]
BODY
    print(json.dumps(seen))

asyncio.run(main())
"""


async def look(host: Guest, body: str, *before: str) -> dict[str, Any]:
    """Run a program over the helpers in the guest; what it puts into `seen`."""
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    out = await host.run(*before, PYTHON, "-c", FRAME.replace("BODY", indented), timeout_s=60)
    seen: dict[str, Any] = json.loads(out)
    return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest) -> AsyncIterator[Guest]:
    """A guest with the project and, until the end of this module, some units."""
    units = {ETC / f"t-{name}.service": GuestFile(text.encode()) for name, text in UNITS.items()}
    await guest.write(units | {WORDS: GuestFile(TEXT.encode())})
    await guest.run("systemctl", "daemon-reload")
    yield guest
    await guest.look("systemctl", "disable", "t-fine.service")
    await guest.run("systemctl", "stop", "t-*.service")
    await guest.run("rm", "--force", *map(str, (*units, WORDS)))
    await guest.run("systemctl", "daemon-reload")
    await guest.look("systemctl", "reset-failed", "t-*")


async def test_jobs_end_as_systemd_says(host: Guest) -> None:
    seen = await look(
        host,
        """
async with connected() as units:
    for name in ("fine", "once", "bad"):
        seen[name] = await units.do("StartUnit", f"t-{name}.service", timeout_s=20)
    seen["slow"] = await units.do("StartUnit", "t-slow.service", timeout_s=0.5)
    await units.stop("t-slow.service", timeout_s=20)
    seen["raised"] = await tried(units.start("t-bad.service", timeout_s=20))
    seen["late"] = await tried(units.start("t-slow.service", timeout_s=0.5))
    await units.stop("t-slow.service", timeout_s=20)
    seen["unknown"] = await tried(units.start("t-nowhere.service", timeout_s=20))
    together = [await units.begin("RestartUnit", "t-fine.service") for _ in range(3)]
    seen["together"] = sorted(await asyncio.gather(*together))
    await units.reset_failed("t-bad.service")
    await units.reset_failed("t-nowhere.service")
    seen["running"] = await units.running("t-*.service")
""",
    )
    assert seen["fine"] == seen["once"] == "done"
    assert seen["bad"] == "failed"
    assert seen["slow"] == "timeout"
    assert seen["raised"] == ["JobError", "t-bad.service"]
    assert seen["late"] == ["JobError", "t-slow.service"]
    assert seen["unknown"] == ["NoSuchUnitError", "t-nowhere.service"]
    assert "done" in seen["together"]
    assert set(seen["together"]) <= {"done", "canceled"}
    assert seen["running"] == ["t-fine.service"]


async def test_states_tell_what_a_unit_is(host: Guest) -> None:
    await host.run("systemctl", "start", "t-fine", "t-stays")
    await host.look("systemctl", "start", "t-again")
    states = """
async with connected() as units:
    names = [f"t-{name}.service" for name in ("fine", "once", "stays", "again", "nowhere")]
    await asyncio.sleep(0.5)  # until t-again has ended
    seen.update({
        name: {**asdict(state), "up": state.up, "retrying": state.retrying}
        for name, state in (await units.states(names)).items()
    })
"""
    seen = await look(host, states)
    fine, once, stays, again, nowhere = (
        seen[f"t-{name}.service"] for name in ("fine", "once", "stays", "again", "nowhere")
    )
    assert (fine["load"], fine["up"], fine["once"], fine["stale"]) == ("loaded", True, False, False)
    assert (once["up"], once["once"]) == (False, True)
    assert (stays["up"], stays["once"]) == (True, False)
    assert (again["up"], again["retrying"]) == (False, True)
    assert (nowhere["load"], nowhere["up"]) == ("not-found", False)
    text = UNITS["fine"].replace("infinity", "9999")
    await host.write({ETC / "t-fine.service": GuestFile(text.encode())})
    assert (await look(host, states))["t-fine.service"]["stale"] is True
    await look(host, "async with connected() as units:\n    await units.reload()")
    assert (await look(host, states))["t-fine.service"]["stale"] is False
    await host.run("systemctl", "stop", "t-again")


async def test_units_are_enabled_and_unmasked(host: Guest) -> None:
    await host.run("systemctl", "stop", "t-stays")
    await host.run("rm", str(ETC / "t-stays.service"))  # a file there would outrank the mask
    await host.run("systemctl", "mask", "--runtime", "t-stays")
    body = """
async with connected() as units:
    seen["enabled"] = await units.enable("t-fine.service")
    seen["again"] = await units.enable("t-fine.service")
    seen["masked"] = await tried(units.start("t-stays.service", timeout_s=20))
    seen["unmasked"] = await units.unmask("t-stays.service")
    await units.reload()
    seen["states"] = (await units.states(["t-stays.service"]))["t-stays.service"].load
"""
    seen = await look(host, body)
    assert seen["enabled"] == [f"{ETC}/multi-user.target.wants/t-fine.service"]
    assert seen["again"] == []
    assert seen["masked"] == ["RefusedError", "t-stays.service"]
    assert seen["unmasked"] == ["/run/systemd/system/t-stays.service"]
    assert seen["states"] == "not-found"


async def test_properties_and_their_changes(host: Guest) -> None:
    body = """
told = []
connection = Connection(changed=lambda path, values: told.append((path, dict(values))))
units = Units(connection)
path = await units.path_of("t-fine.service")
await units.start("t-fine.service", timeout_s=20)
seen["running"] = asdict(await units.properties("t-fine.service"))
await connection.close()
told.clear()
await units.stop("t-fine.service", timeout_s=20)
seen["stopped"] = asdict(await units.properties("t-fine.service"))
await units.do("StartUnit", "t-bad.service", timeout_s=20)
seen["bad"] = asdict(await units.properties("t-bad.service"))
seen["nowhere"] = asdict(await units.properties("t-nowhere.service"))
seen["told"] = any(p == path and "ActiveState" in values for p, values in told)
await connection.close()
"""
    seen = await look(host, body)
    running = seen["running"]
    assert (running["active_state"], running["load_state"]) == ("active", "loaded")
    assert running["pid"] > 1
    assert running["memory"] > 0
    assert len(running["invocation"]) == 32
    assert (seen["stopped"]["pid"], seen["stopped"]["exit_status"]) == (None, -15)
    assert (seen["bad"]["result"], seen["bad"]["exit_status"]) == ("exit-code", 7)
    assert seen["nowhere"]["load_state"] == "not-found"
    assert seen["told"] is True, "also over the connection that was made anew"


JOURNAL = """
seen["tail"] = [asdict(entry) for entry in await journal.tail("t-wordy.service", 50)]
seen["lines"] = [entry.line for entry in await journal.tail("t-wordy.service", 1, this_boot=True)]
seen["two"] = len(await journal.tail("t-wordy.service", 2))
seen["none"] = len(await journal.tail("t-nowhere.service", 5))
seen["other"] = len(await journal.tail("t-wordy.service", 50, invocation="0" * 32))
"""


async def test_the_journal_is_read_whole(host: Guest) -> None:
    await host.run("systemctl", "start", "t-wordy")
    await host.run("journalctl", "--sync")
    seen = await look(host, JOURNAL)
    messages = [entry["message"] for entry in seen["tail"]]
    assert LONG in messages, "no message is too long"
    assert "\ufffd\x1b" in messages, "nor lost for what it holds"
    assert messages.index(LONG) < messages.index("the last"), "oldest first"
    assert all(entry["time"] > 1e9 for entry in seen["tail"])
    assert "systemd" in {entry["identifier"] for entry in seen["tail"]}
    (line,) = seen["lines"]
    # What the program and what systemd said last come by two ways, in either order.
    assert re.fullmatch(r"20\S+Z (systemd\[1\]|python\[[0-9]+\]): .+", line), line
    assert (seen["two"], seen["none"], seen["other"]) == (2, 0, 0)


async def test_who_may_not_read_the_journal_is_told(host: Guest) -> None:
    body = 'seen["tail"] = await tried(journal.tail("t-wordy.service", 5))'
    drop = ("setpriv", "--reuid=www-data", "--regid=www-data")
    seen = await look(host, body, *drop, "--clear-groups")
    assert seen["tail"] == ["JournalError", "t-wordy.service"]
    body = 'seen["tail"] = len(await journal.tail("t-wordy.service", 2))'
    assert (await look(host, body, *drop, "--groups=systemd-journal"))["tail"] == 2


async def test_without_a_bus_it_says_so(host: Guest) -> None:
    body = """
async def go():
    async with connected():
        pass
seen["no bus"] = await tried(go())
"""
    hidden = ("env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/no-such-socket")
    assert (await look(host, body, *hidden))["no bus"] == ["NoBusError", "D-Bus"]
