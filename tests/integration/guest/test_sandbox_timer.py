"""Leases of root are ended by a timer of systemd: by the exported unit, and where nobody has
installed that, by one that `up` makes for this boot.

An Incus in a guest is not tried: `STAND_IN` answers in its stead, with the requests that ending a
lease makes. What is real here is systemd, the units with their confinement, and the program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

import pytest
import pytest_asyncio

from agency.guests.images.layout import PREFIX
from agency.guests.machines.machine import Guest, GuestFile
from agency.sandbox.timer import SERVICE, TIMER

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[3]
EXPORTED = ROOT / "modules/portable/machine/etc/systemd/system"
ETC = PurePosixPath("/etc/systemd/system")
PYTHON, AGENCY = str(PREFIX / "bin" / "python"), str(PREFIX / "bin" / "agency")
DESTROYED = PurePosixPath("/var/lib/incus/destroyed")
WAIT_S = 60
# As the timer, but a test cannot wait five minutes.
SOONER = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nAccuracySec=100ms\n"

STAND_IN_SERVICE, STAND_IN_PROGRAM = "stand-in.service", PurePosixPath("/opt/stand_in.py")
DATABASE = PurePosixPath("/var/lib/agency-sandbox/leases.db")
LEFT = (
    *(ETC / SERVICE, ETC / TIMER, ETC / f"{TIMER}.d", ETC / STAND_IN_SERVICE),
    *(STAND_IN_PROGRAM, DATABASE.parent, DESTROYED.parent),
)
STAND_IN_UNIT = f"[Service]\nType=exec\nExecStart={PYTHON} {STAND_IN_PROGRAM}\n"
STAND_IN = f"""
import os
from aiohttp import web

there = {{"agency-lease-over": "over", "agency-lease-stays": "stays"}}
OPERATION = {{"type": "async", "metadata": {{"id": "1", "status_code": 103}}}}

def described(name):
    labels = {{"state": "/var/lib/agency-sandbox", "run": name.removeprefix("agency-"),
              "purpose": "lease"}}
    config = {{f"user.agency.{{key}}": value for key, value in labels.items()}}
    return {{"name": name, "type": "container", "status": "Running", "config": config}}

async def every(request):
    return web.json_response({{"type": "sync", "metadata": [described(name) for name in there]}})

async def one(request):
    name = request.match_info["name"]
    if name not in there:
        return web.json_response({{"type": "error", "error_code": 404}}, status=404)
    if request.method == "DELETE":
        del there[name]
        with open("{DESTROYED}", "a") as file:
            print(name, file=file)
    if request.method == "GET":
        return web.json_response({{"type": "sync", "metadata": described(name)}})
    return web.json_response(OPERATION, status=202)

async def done(request):
    return web.json_response({{"type": "sync", "metadata": {{"status_code": 200}}}})

app = web.Application()
app.router.add_get("/1.0/instances", every)
app.router.add_route("*", "/1.0/instances/{{name}}", one)
app.router.add_put("/1.0/instances/{{name}}/state", one)
app.router.add_get("/1.0/operations/1/wait", done)
os.makedirs("/var/lib/incus", mode=0o711, exist_ok=True)
web.run_app(app, path="/var/lib/incus/unix.socket")
"""

# As `agency sandbox up` of root records them.
RECORD = """
import sys
from agency.paths import sandbox_dir
from agency.sandbox.lease import Bounds, Lease, State
from agency.sandbox.store import Leases
leases = Leases(sandbox_dir() / "leases.db", Bounds())
for name, ends in (("lease-over", 1.0), ("lease-stays", 4e9)):
    leases.remove(name)
    leases.add(Lease(name, ".", None, State.READY, 0.0, ends, 1024, 1, None))
"""
ARM = """
import asyncio
from agency.sandbox import timer
print(asyncio.run(timer.arm()))
"""


async def leases(host: Guest) -> list[str]:
    listed = json.loads(await host.run(AGENCY, "sandbox", "list", "--json"))
    return [lease["name"] for lease in listed]


async def recorded(host: Guest) -> None:
    await host.run(PYTHON, "-c", RECORD)
    assert await leases(host) == ["lease-over", "lease-stays"]


async def shown(host: Guest, unit: str, *names: str) -> list[str]:
    properties = [f"--property={name}" for name in names]
    out = await host.run("systemctl", "show", "--value", *properties, unit)
    return out.decode().splitlines()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest) -> AsyncIterator[Guest]:
    """A guest with the project; at the end of this module the units and leases go."""
    yield guest
    await guest.look("systemctl", "disable", "--now", TIMER)
    await guest.look("systemctl", "stop", SERVICE, STAND_IN_SERVICE)
    await guest.run("rm", "--recursive", "--force", *map(str, LEFT))
    await guest.run("systemctl", "daemon-reload")
    await guest.look("systemctl", "reset-failed", SERVICE, STAND_IN_SERVICE)


async def test_where_no_unit_is_installed_one_of_this_boot_ends_leases(host: Guest) -> None:
    await recorded(host)
    assert (await host.run(PYTHON, "-c", ARM)).strip() == b"None"
    assert (await host.run(PYTHON, "-c", ARM)).strip() == b"None", "twice is once"
    assert await shown(host, TIMER, "ActiveState") == ["active"]
    assert await shown(host, TIMER, "Transient") == ["yes"]
    (calendar,) = await shown(host, TIMER, "TimersCalendar")
    assert ":00/5:00" in calendar
    await host.run("systemctl", "start", SERVICE, timeout_s=WAIT_S)
    assert await leases(host) == ["lease-stays"]
    await host.run("systemctl", "stop", TIMER)


async def test_the_exported_unit_ends_leases_and_their_machines(host: Guest) -> None:
    files = {ETC / name: GuestFile((EXPORTED / name).read_bytes()) for name in (SERVICE, TIMER)}
    files[ETC / f"{TIMER}.d" / "test.conf"] = GuestFile(SOONER.encode())
    files[ETC / STAND_IN_SERVICE] = GuestFile(STAND_IN_UNIT.encode())
    files[STAND_IN_PROGRAM] = GuestFile(STAND_IN.encode())
    await host.write(files)
    await host.run("systemctl", "daemon-reload")
    await host.run("systemctl", "start", STAND_IN_SERVICE)
    await host.run("sh", "-c", "until test -S /var/lib/incus/unix.socket; do sleep 0.1; done")
    await recorded(host)
    assert (await host.run(PYTHON, "-c", ARM)).strip() == b"None"
    assert await shown(host, TIMER, "Transient") == ["no"]
    assert (await host.run("systemctl", "is-enabled", TIMER)).strip() == b"enabled"
    async with asyncio.timeout(WAIT_S):
        while await leases(host) != ["lease-stays"]:  # noqa: ASYNC110 - a guest sends no events
            await asyncio.sleep(0.5)
    assert await shown(host, SERVICE, "Result") == ["success"]
    assert (await host.read(DESTROYED)).decode().split() == ["agency-lease-over"]


async def test_the_exported_unit_is_confined(host: Guest) -> None:
    out = await host.run("systemd-analyze", "security", "--no-pager", "--threshold=20", SERVICE)
    assert b"Overall exposure level" in out


async def test_a_unit_that_cannot_do_it_says_so(host: Guest) -> None:
    """The control: that the unit succeeds means something."""
    await host.run("systemctl", "stop", TIMER)
    await host.write({DATABASE: GuestFile(b"no database, but long enough to be looked at" * 10)})
    done = await host.look("systemctl", "start", SERVICE, timeout_s=WAIT_S)
    assert done.exit_status != 0
    assert await shown(host, SERVICE, "Result") == ["exit-code"]
    said = (await host.run("journalctl", "--unit", SERVICE, "--no-pager")).decode()
    assert "the leases cannot be kept" in said
