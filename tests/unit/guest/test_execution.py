"""Programs in a guest by Incus's client: its own failures are told from those of the program."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.guests.incus.client import Incus
from agency.guests.incus.errors import IncusError, IncusTimeoutError, is_missing
from agency.guests.incus.execution import client_environment
from agency.guests.incus.model import Kind
from agency.guests.machines.machine import Guest
from agency.machine.machine import MachineError
from agency.machine.process import MAX_OUTPUT

# What the client does is simulated: it drops its own words, and runs the rest here.
CLIENT = """#!/bin/sh
printf '%s\\n' "$@" > {said}
while [ "$1" != -- ]; do shift; done
shift
{acts}
"""
RUNS = 'exec "$@"'


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a simulated client; `acts` says what it does."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


def acts(client: Path, text: str) -> Path:
    said = client / "said"
    (client / "incus").write_text(CLIENT.format(said=shlex.quote(str(said)), acts=text))
    (client / "incus").chmod(0o755)
    return said


def guest(tmp_path: Path) -> Guest:
    return Guest(Incus(tmp_path / "socket"), "g", Kind.CONTAINER)


async def test_status_and_streams_are_the_programs(client: Path, tmp_path: Path) -> None:
    said = acts(client, RUNS)
    done = await guest(tmp_path).look("sh", "-c", "cat; echo oh >&2; exit 3", stdin=b"in")
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"in", b"oh\n")
    words = said.read_text().splitlines()
    assert words[:4] == ["--force-local", "exec", "-T", "g"]
    assert {"--user=0", "--group=0", "--cwd=/"} <= set(words)


async def test_output_is_bounded_and_the_program_goes_on(client: Path, tmp_path: Path) -> None:
    acts(client, RUNS)
    for more in (0, 1):
        script = f"head -c {MAX_OUTPUT + more} /dev/zero; echo end >&2"
        done = await guest(tmp_path).look("sh", "-c", script)
        assert (len(done.stdout), done.truncated) == (MAX_OUTPUT, bool(more))
        assert done.stderr == b"end\n"


async def test_user_and_environment_are_told_to_incus(client: Path, tmp_path: Path) -> None:
    said = acts(client, RUNS)
    await guest(tmp_path).run("true", env={"A": "b"}, uid=65534, gid=65533)
    assert {"--user=65534", "--group=65533", "--env=A=b"} <= set(said.read_text().splitlines())


def test_the_client_has_nobodys_configuration(tmp_path: Path) -> None:
    environment = client_environment(tmp_path / "socket")
    assert environment.keys() == {"PATH", "HOME", "INCUS_CONF", "INCUS_SOCKET"}
    assert environment["INCUS_SOCKET"] == str(tmp_path / "socket")


@pytest.mark.parametrize("status", [1, 255])
async def test_a_program_that_fails_like_the_client_is_still_the_programs(
    status: int, client: Path, tmp_path: Path
) -> None:
    acts(client, RUNS)
    line = f"echo 'Error: Instance is not running' >&2; exit {status}"
    done = await guest(tmp_path).look("sh", "-c", line)
    assert done.exit_status == status


@pytest.mark.parametrize("status", [0, 1, 126, 127, 137])
async def test_a_client_that_started_nothing_is_an_error(
    status: int, client: Path, tmp_path: Path
) -> None:
    acts(client, f"echo 'Error: Instance is not running' >&2; exit {status}")
    with pytest.raises(IncusError, match="could not be started: Error: Instance is not") as caught:
        await guest(tmp_path).look("true")
    assert not is_missing(caught.value)


async def test_a_guest_that_is_not_there_is_missing(client: Path, tmp_path: Path) -> None:
    acts(client, "echo 'Error: Failed to fetch instance \"g\": Instance not found' >&2; exit 1")
    with pytest.raises(IncusError) as caught:
        await guest(tmp_path).look("true")
    assert is_missing(caught.value)


async def test_a_program_that_is_not_there_is_an_error(client: Path, tmp_path: Path) -> None:
    acts(client, RUNS)
    with pytest.raises(IncusError, match=r"could not be started: .*no-such-program"):
        await guest(tmp_path).look("no-such-program")
    done = await guest(tmp_path).look("sh", "-c", "exit 127")
    assert done.exit_status == 127, "which is the program's own"


async def test_a_connection_that_breaks_is_an_error(client: Path, tmp_path: Path) -> None:
    broken = "Error: websocket: close 1006 (abnormal closure): unexpected EOF"
    acts(client, f"printf +half; echo '{broken}' >&2; exit 1")
    with pytest.raises(IncusError, match="the connection to Incus broke"):
        await guest(tmp_path).look("true")


async def test_a_program_that_takes_too_long_is_ended(client: Path, tmp_path: Path) -> None:
    acts(client, 'echo $$ > "$0.pid"; ' + RUNS)
    with pytest.raises(IncusTimeoutError, match=r"g: sleep: did not end within 0\.5 s"):
        await guest(tmp_path).look("sleep", "600", timeout_s=0.5)
    pid = int((client / "incus.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_without_the_client_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="install Incus"):
        await guest(tmp_path).look("true")


async def test_a_dialogue_is_line_by_line_and_ends_with_the_block(
    client: Path, tmp_path: Path
) -> None:
    acts(client, RUNS)
    async with guest(tmp_path).dialogue("cat") as dialogue:
        assert await dialogue.ask(b"+one", timeout_s=20) == b"+one"
        assert await dialogue.ask(b"two", timeout_s=20) == b"two"


async def test_a_dialogue_that_ends_says_so(client: Path, tmp_path: Path) -> None:
    acts(client, RUNS)
    async with guest(tmp_path).dialogue("sh", "-c", "echo gone >&2") as dialogue:
        with pytest.raises(MachineError, match="it has ended: gone"):
            await dialogue.ask(b"hello", timeout_s=20)


async def test_a_dialogue_that_does_not_start_is_an_error(client: Path, tmp_path: Path) -> None:
    acts(client, "echo 'Error: Instance is not running' >&2; exit 1")
    with pytest.raises(IncusError, match="could not be started: Error: Instance is not running"):
        async with guest(tmp_path).dialogue("cat"):
            pass


async def test_bytes_travel_through_a_forwarded_port(client: Path, tmp_path: Path) -> None:
    acts(client, RUNS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readline())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with guest(tmp_path).forward(port) as local:
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(b"\x00\xff+\n")
            assert await reader.read() == b"heard \x00\xff+\n"
            writer.close()
