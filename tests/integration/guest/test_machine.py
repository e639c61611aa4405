"""A guest as its users meet it: it boots, runs programs, keeps files, has no network."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

import aiohttp
import pytest

from agency.guests.incus.errors import IncusError, IncusTimeoutError
from agency.guests.machines.machine import Guest, GuestFile
from agency.machine.machine import MachineError
from agency.machine.process import MAX_OUTPUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

REACH = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5): print("connected")
"""


async def test_it_runs_a_whole_system(guest: Guest) -> None:
    state = await guest.wait_running(timeout_s=60)
    assert (state.state, state.failed) == ("running", ())
    assert (await guest.run("cat", "/proc/1/comm")).strip() == b"systemd"
    assert (await guest.run("hostname")).strip() == b"throwaway"


async def test_it_has_no_network_but_loopback(guest: Guest) -> None:
    instance = await guest.incus.instance(guest.name)
    assert instance is not None
    assert instance.network_devices == ()
    assert (await guest.run("ls", "/sys/class/net")).split() == [b"lo"]
    assert await guest.run("ip", "route", "show", "table", "main") == b""
    out = await guest.look("python3", "-c", REACH, "192.0.2.1", "443")
    assert out.exit_status != 0
    assert b"Network is unreachable" in out.stderr
    await guest.run("systemctl", "start", "nginx")
    assert b"connected" in await guest.run("python3", "-c", REACH, "127.0.0.1", "80")
    await guest.run("systemctl", "stop", "nginx")


async def test_streams_and_status_are_kept_apart(guest: Guest) -> None:
    script = "import sys; sys.stderr.write('err'); print(sys.stdin.read()[::-1]); sys.exit(7)"
    done = await guest.look("python3", "-c", script, stdin=b"abc")
    assert (done.exit_status, done.stdout, done.stderr) == (7, b"cba\n", b"err")


@pytest.mark.parametrize(
    "argument", ["two words", "$(id)", "line\nbreak", "ümlaut \u202e", "'\"", ""]
)
async def test_arguments_arrive_as_they_are(guest: Guest, argument: str) -> None:
    script = "import sys; sys.stdout.buffer.write(sys.argv[1].encode())"
    assert await guest.run("python3", "-X", "utf8", "-c", script, argument) == argument.encode()


async def test_large_input_and_output_pass(guest: Guest) -> None:
    data = bytes(range(256)) * 16384
    assert await guest.run("cat", stdin=data) == data


async def test_output_is_bounded_and_the_program_goes_on(guest: Guest) -> None:
    script = f"print('x' * {2 * MAX_OUTPUT}); open('/run/reached-the-end', 'w')"
    done = await guest.look("python3", "-c", script)
    assert (done.truncated, done.exit_status) == (True, 0)
    assert len(done.stdout) == MAX_OUTPUT
    await guest.run("rm", "/run/reached-the-end")


async def test_a_program_that_does_not_end_is_killed(guest: Guest) -> None:
    with pytest.raises(IncusTimeoutError, match="sleep"):
        await guest.look("sleep", "4711", timeout_s=1)
    assert (await guest.look("pgrep", "--full", "sleep 4711")).exit_status == 1


async def test_what_cannot_be_started_is_named(guest: Guest) -> None:
    with pytest.raises(IncusError, match="no-such-program"):
        await guest.look("no-such-program")


async def test_programs_run_as_whom_they_should(guest: Guest) -> None:
    assert await guest.run("id", "-u", uid=33, gid=33) == b"33\n"
    with pytest.raises(MachineError, match="Permission denied"):
        await guest.run("cat", "/etc/shadow", uid=33, gid=33)
    assert await guest.run("cat", "/etc/shadow") != b""


async def test_files_are_written_with_their_owner_and_mode(guest: Guest) -> None:
    path = PurePosixPath("/srv/deep/er/secret")
    before = await guest.run("stat", "--format=%a %u", "/srv")
    await guest.write({path: GuestFile(b"content", 0o600, 33, 33)})
    assert await guest.run("stat", "--format=%a %u %g", str(path)) == b"600 33 33\n"
    assert await guest.run("stat", "--format=%a %u", "/srv") == before
    assert await guest.read(path) == b"content"
    with pytest.raises(IncusError, match="longer than 3"):
        await guest.read(path, max_bytes=3)
    with pytest.raises(IncusError):
        await guest.read(PurePosixPath("/srv/absent"))
    with pytest.raises(IncusError, match="regular"):
        await guest.read(PurePosixPath("/srv"))
    await guest.run("rm", "--recursive", "/srv/deep")


async def test_a_failed_unit_is_named_with_its_journal(guest: Guest) -> None:
    script = "import sys; sys.exit('the tea is cold')"
    await guest.look("systemd-run", "--unit=bad", "--wait", "python3", "-c", script)
    with pytest.raises(MachineError, match=r"bad\.service") as caught:
        await guest.wait_running(timeout_s=20)
    assert any("the tea is cold" in line for line in caught.value.log_tail)
    allowed = await guest.wait_running(timeout_s=20, allow_degraded=True)
    assert allowed.failed == ("bad.service",)
    await guest.run("systemctl", "reset-failed", "bad.service")
    assert (await guest.wait_running(timeout_s=20)).state == "running"


async def test_a_reboot_loses_nothing_but_what_is_volatile(guest: Guest) -> None:
    await guest.run("touch", "/srv/stays", "/run/goes")
    before = await guest.boot_id()
    await guest.reboot(timeout_s=90)
    assert await guest.boot_id() != before
    await guest.run("ls", "/srv/stays")
    assert (await guest.look("ls", "/run/goes")).exit_status != 0
    await guest.run("rm", "/srv/stays")


async def test_a_guest_that_never_runs_says_what_it_waits_for(guest: Guest) -> None:
    unit = PurePosixPath("/etc/systemd/system/forever.service")
    text = (
        b"[Service]\nType=oneshot\nExecStart=sleep infinity\nTimeoutStartSec=infinity\n"
        b"[Install]\nWantedBy=multi-user.target\n"
    )
    await guest.write({unit: GuestFile(text)})
    await guest.run("systemctl", "enable", "forever")
    with pytest.raises(MachineError, match="not running") as caught:
        await guest.reboot(timeout_s=8)
    assert any("forever.service" in line for line in caught.value.log_tail)
    await guest.run("systemctl", "disable", "forever")
    await guest.run("rm", str(unit))
    await guest.reboot(timeout_s=90)


async def test_a_port_is_reached_from_outside(guest: Guest) -> None:
    await guest.run("systemctl", "start", "nginx")
    async with guest.forward(80) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/"

        async def get() -> int:
            async with session.get(url) as answer:
                await answer.read()
                return answer.status

        assert set(await asyncio.gather(*(get() for _ in range(10)))) == {200}
        await guest.run("systemctl", "stop", "nginx")
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as fresh, fresh.get(url):
                pass
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session, session.get(url):
            pass


async def test_one_that_is_busy_with_a_restart_is_destroyed_all_the_same(guest: Guest) -> None:
    """The last test of this module: its guest is gone afterwards."""
    restarting = asyncio.ensure_future(guest.reboot(timeout_s=60))
    await asyncio.sleep(0.2)  # Incus has begun, and goes on by itself
    restarting.cancel()
    await asyncio.wait({restarting})
    await guest.destroy()
    assert await guest.incus.instance(guest.name) is None
