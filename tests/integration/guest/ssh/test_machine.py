"""A machine reached by the real OpenSSH client and server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from agency.errors import PrerequisiteError, UsageError
from agency.guests.machines.machine import Guest
from agency.machine.machine import MachineError
from agency.machine.ssh.machine import connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = "root@host-under-test"


async def test_words_arrive_as_they_were_given(machine) -> None:
    words = ("a b", "$HOME", "it's", '"', "*", "", "a\nb", "-n", "; id")
    done = await machine.look("printf", "%s\\0", *words)
    assert done.exit_status == 0
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words)


async def test_status_and_streams_are_the_programs_own(machine) -> None:
    done = await machine.look("sh", "-c", "cat; echo no >&2; exit 7", stdin=b"\0bytes\xff")
    assert (done.exit_status, done.stdout, done.stderr) == (7, b"\0bytes\xff", b"no\n")
    assert (await machine.look("id", "-u")).stdout == b"0\n"
    status = (await machine.look("sh", "-c", "exit 255")).exit_status
    assert status == 255, "a program's own, for the connection is whole"


async def test_a_program_that_is_not_there_is_named(machine) -> None:
    with pytest.raises(MachineError, match="could not be started") as caught:
        await machine.look("no-such-program")
    assert caught.value.where == f"{ROOT}: no-such-program"


async def test_output_without_end_is_cut_and_time_runs_out(machine, guest) -> None:
    done = await machine.look("head", "-c", str(6 * 1024 * 1024), "/dev/zero")
    assert done.truncated
    assert len(done.stdout) == 4 * 1024 * 1024
    with pytest.raises(MachineError, match="did not end within"):
        await machine.look("sleep", "4711", timeout_s=0.5)
    # Nothing of it goes on there for longer than the time that the host was given.
    waiting = "while pgrep -x sleep; do command sleep 0.2; done"
    await guest.run("timeout", "30", "sh", "-c", waiting, timeout_s=40)
    assert (await machine.look("true")).exit_status == 0, "the connection is still of use"


async def test_a_port_of_the_host_is_reached(machine, guest: Guest) -> None:
    await guest.run("systemctl", "start", "nginx")
    try:
        async with machine.forward(80) as port, aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert answer.headers["Server"].startswith("nginx")
            async with machine.forward(80) as second:
                assert second != port
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
    finally:
        await guest.run("systemctl", "stop", "nginx")


async def test_a_connection_that_ends_is_told_and_not_made_anew(
    server, directory: Path, marker: str, guest: Guest
) -> None:
    async with connected(
        ROOT, options=server.options(), directory=directory, marker=marker
    ) as machine:
        guard = asyncio.ensure_future(machine.guard())
        await machine.look("true")
        assert not guard.done()
        await guest.run("pkill", "-KILL", "sshd")
        with pytest.raises(MachineError, match="the connection broke"):
            async with asyncio.timeout(20):
                await guard
        with pytest.raises(MachineError, match="the connection broke"):
            await machine.look("true")
        with pytest.raises(MachineError):
            async with machine.forward(80):
                pass


REFUSED = {
    "another key": ({"key": "stranger"}, "accepts none of the keys", "ssh-add"),
    "no key": ({"key": "no-such-file"}, "accepts none of the keys", "ssh-add"),
    "a host key that changed": (
        {"known": "changed"},
        "differs from the known one",
        "ssh-keygen -R",
    ),
    "a host that is not known": ({"known": "empty"}, "is not known", "fingerprint"),
    "no such machine": ({"guest": "agency-run-none"}, "cannot be reached", "by hand"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_no_connection_is_told_with_what_to_do(
    server, directory: Path, marker: str, case: str
) -> None:
    other, message, hint = REFUSED[case]
    with pytest.raises(PrerequisiteError, match=message) as caught:
        async with connected(
            ROOT, options=server.options(**other), directory=directory, marker=marker
        ):
            pass
    assert int(caught.value.exit_code) == 3
    assert caught.value.where == ROOT
    assert hint in caught.value.hint


async def test_a_host_that_says_nothing_is_given_up(directory: Path, marker: str) -> None:
    with pytest.raises(PrerequisiteError, match="cannot be reached"):
        async with connected(
            ROOT,
            options=["ProxyCommand=sleep 600"],
            directory=directory,
            marker=marker,
            timeout_s=1,
        ):
            pass


async def test_the_host_key_is_always_checked(directory: Path, marker: str) -> None:
    for option in ("StrictHostKeyChecking=no", "BatchMode=no", "ControlPath=/tmp/x"):
        with pytest.raises(UsageError, match="cannot be set"):
            async with connected(ROOT, options=[option], directory=directory, marker=marker):
                pass


async def test_the_directory_is_private(machine, directory: Path) -> None:
    for path in (directory, *directory.iterdir()):  # noqa: ASYNC240 - a test
        facts = path.stat()
        assert (facts.st_mode & 0o077, facts.st_uid) == (0, os.geteuid()), path


async def test_a_program_answers_line_by_line(machine) -> None:
    async with machine.dialogue("sed", "--unbuffered", "s/^/you said /") as talk:
        for word in (b"it's", b"$HOME"):
            assert await talk.ask(word, timeout_s=10) == b"you said " + word


async def test_a_program_that_ends_or_says_nothing_is_told(machine, guest: Guest) -> None:
    async with machine.dialogue("sh", "-c", "echo why it ended >&2") as talk:
        with pytest.raises(MachineError, match="it has ended: why it ended"):
            await talk.ask(b"a word", timeout_s=10)
    async with machine.dialogue("head", "-c", "3000000", "/dev/zero") as talk:
        with pytest.raises(MachineError, match="too long"):
            await talk.ask(b"a word", timeout_s=10)
    async with machine.dialogue("sh", "-c", "cat > /dev/null; : quiet-one") as talk:
        with pytest.raises(MachineError, match="no answer"):
            await talk.ask(b"a word", timeout_s=0.5)
    # It read to the end of its input, and went.
    waiting = "while pgrep -f '[q]uiet-one'; do sleep 0.2; done"
    await guest.run("timeout", "30", "sh", "-c", waiting, timeout_s=40)
