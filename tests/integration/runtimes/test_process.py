"""The runtime `process` beyond the interface: files, faults, and what a killed parent leaves."""

import asyncio
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from binding import somebody_binds

from agency import listening
from agency.children import ChildError, processes_with_marker
from agency.clock import Clock
from agency.control.runtimes import process as process_module
from agency.control.runtimes.base import AgentRuntimeError, State
from agency.control.runtimes.process import ProcessRuntime
from agency.errors import PrerequisiteError
from agency.protocols.acp import TOKEN_CREDENTIAL

Make = Callable[..., ProcessRuntime]


@pytest.fixture
async def make(tmp_path: Path, ports: dict[str, int]) -> AsyncIterator[Make]:
    """Makes runtimes on one state directory; closes them at the end."""
    made: list[ProcessRuntime] = []

    def make(**options: object) -> ProcessRuntime:
        options = {"stop_timeout_s": 10, "port_of": ports.__getitem__, **options}
        made.append(ProcessRuntime(tmp_path / "state", clock=Clock(), **options))
        return made[-1]

    yield make
    for runtime in made:
        await runtime.close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program that takes the place of the agent's Python."""

    def script(body: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return script


@pytest.fixture
def spawn() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts processes that no runtime knows of; ends them at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def spawn(*argv: str, **env: str) -> "subprocess.Popen[str]":
        env = {"PATH": os.defpath, **env}
        started.append(subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield spawn
    for process in started:
        process.kill()
        process.communicate()


def environment_of(pid: int) -> bytes:
    """What a process got; the kernel shows nothing while it executes a program."""
    deadline = time.monotonic() + 10
    while not (shown := Path(f"/proc/{pid}/environ").read_bytes()):
        assert time.monotonic() < deadline, f"process {pid} shows no environment"
        time.sleep(0.01)
    return shown


def token_file(tmp_path: Path, name: str = "pm") -> Path:
    return tmp_path / "state" / "agents" / name / "credentials" / TOKEN_CREDENTIAL


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_files_are_private_and_the_token_ends_with_the_agent(
    make: Make, request_for, healthy, tmp_path: Path
) -> None:
    runtime = make()
    await runtime.start(request_for("pm", project="new-app"))
    await healthy(runtime, "pm")
    directory = tmp_path / "state" / "agents" / "pm"
    file = token_file(tmp_path)
    assert [mode(d) for d in (directory.parent, directory, file.parent)] == [0o700] * 3
    assert [mode(directory / f) for f in ("agent.json", "log")] == [0o600] * 2
    assert mode(file) == 0o600
    token = file.read_text()
    assert token == runtime.endpoint("pm").token
    config = json.loads((directory / "agent.json").read_text())
    assert config["project"] == "new-app"
    await runtime.stop("pm")
    assert not file.exists()
    for path in directory.iterdir():
        assert path.is_dir() or token not in path.read_text()


async def test_the_token_of_a_crashed_agent_is_removed(
    make: Make, request_for, healthy, until, tmp_path: Path
) -> None:
    runtime = make()
    status = await runtime.start(request_for("pm"))
    await healthy(runtime, "pm")
    assert token_file(tmp_path).exists()
    os.kill(int(status.handle), signal.SIGKILL)

    async def removed() -> bool:
        return not token_file(tmp_path).exists()

    await until(removed)


async def test_an_agent_gets_nothing_of_our_environment(
    make: Make, request_for, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "canary")
    runtime = make()
    status = await runtime.start(request_for("pm"))
    environ = environment_of(int(status.handle))
    assert b"CREDENTIALS_DIRECTORY=" in environ
    assert b"canary" not in environ


async def test_a_taken_port_is_refused_at_once(
    make: Make, request_for, ports, tmp_path: Path, healthy
) -> None:
    runtime, request = make(), request_for("pm")
    with (
        socket.create_server(("127.0.0.1", ports["pm"])),
        pytest.raises(AgentRuntimeError, match="port is taken") as caught,
    ):
        await runtime.start(request)
    assert caught.value.where == f"127.0.0.1:{ports['pm']}"
    assert not token_file(tmp_path).exists()
    assert (await runtime.status("pm")).state is State.STOPPED
    await runtime.start(request)
    await healthy(runtime, "pm")


async def test_a_crash_at_start_says_why_without_the_token(
    make: Make, request_for, until, script: Callable[[str], str]
) -> None:
    token = secrets.token_urlsafe()
    body = f'echo "cannot use $(cat "$CREDENTIALS_DIRECTORY/{TOKEN_CREDENTIAL}")"; exit 7'
    runtime = make(python=script(body), new_token=lambda: token)
    await runtime.start(request_for("pm"))

    async def failed() -> bool:
        return (await runtime.status("pm")).state is State.FAILED

    await until(failed)
    status = await runtime.status("pm")
    assert status.exit_status == 7
    assert status.detail == "exit status 7: cannot use [***]"
    assert runtime.endpoint("pm") is None


async def test_an_agent_that_ignores_sigterm_is_killed(
    make: Make, request_for, until, script: Callable[[str], str], tmp_path: Path
) -> None:
    body = "trap '' TERM; sleep 600 & echo ready; while :; do sleep 600; done"
    runtime = make(python=script(body), stop_timeout_s=0.2)
    await runtime.start(request_for("pm"))
    log = tmp_path / "state" / "agents" / "pm" / "log"

    async def ready() -> bool:
        return "ready" in log.read_text()

    await until(ready)
    status = await runtime.stop("pm")
    assert (status.state, status.exit_status) == (State.STOPPED, -signal.SIGKILL)

    async def nothing_left() -> bool:
        return processes_with_marker(runtime.marker) == ()

    await until(nothing_left)


async def test_close_ends_what_left_its_agents_group(
    make: Make, request_for, until, script: Callable[[str], str]
) -> None:
    runtime = make(python=script("setsid sleep 600 & exec sleep 600"))
    await runtime.start(request_for("pm"))

    async def both_run() -> bool:
        return len(processes_with_marker(runtime.marker)) == 2

    await until(both_run)
    await runtime.close()
    assert processes_with_marker(runtime.marker) == ()


async def test_a_start_that_fails_leaves_nothing(
    make: Make, request_for, healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ChildError("cannot start: Resource temporarily unavailable")

    runtime, request = make(), request_for("pm")
    with monkeypatch.context() as patch:
        patch.setattr(process_module, "start_child", fail)
        with pytest.raises(ChildError):
            await runtime.start(request)
    assert not token_file(tmp_path).exists()
    assert (await runtime.status("pm")).state is State.STOPPED
    assert await runtime.list() == ()
    await runtime.start(request)
    await healthy(runtime, "pm")


async def test_a_state_directory_that_cannot_be_written(
    make: Make, request_for, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(PrerequisiteError, match="cannot write") as caught:
        await make().start(request_for("pm"))
    assert caught.value.where == str(tmp_path / "state" / "agents")


async def test_a_lock_that_cannot_be_opened(make: Make, request_for, tmp_path: Path) -> None:
    lock = tmp_path / "state" / "agents" / ".lock"
    lock.mkdir(parents=True)
    runtime = make()
    with pytest.raises(PrerequisiteError, match="cannot use the lock") as caught:
        await runtime.start(request_for("pm"))
    assert caught.value.where == str(lock)
    assert caught.value.hint == "check the permissions and the free space of that directory"
    lock.rmdir()
    assert (await runtime.start(request_for("pm"))).state is State.RUNNING


@pytest.mark.parametrize("port", [0, -1, 70_000])
async def test_a_bad_port_is_refused(make: Make, request_for, tmp_path: Path, port: int) -> None:
    with pytest.raises(AgentRuntimeError):
        await make(port_of=lambda _: port).start(request_for("pm"))
    assert not token_file(tmp_path).exists()


async def test_two_runtimes_do_not_share_a_directory(make: Make, request_for, healthy) -> None:
    first, second = make(), make()
    status = await first.start(request_for("pm"))
    await healthy(first, "pm")
    for call in (second.list(), second.status("pm"), second.start(request_for("pm"))):
        with pytest.raises(PrerequisiteError, match="another control plane"):
            await call
    assert await first.status("pm") == status
    await first.close()
    assert await second.list() == ()


async def test_a_long_log_is_set_aside(make: Make, request_for, tmp_path: Path) -> None:
    runtime = make()
    log = tmp_path / "state" / "agents" / "pm" / "log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (1024 * 1024 + 1))
    await runtime.start(request_for("pm"))
    assert log.stat().st_size < 1024 * 1024
    assert log.with_name("log.1").stat().st_size == 1024 * 1024 + 1


PARENT = """
import asyncio, sys
from pathlib import Path
from agency.clock import Clock
from agency.control.runtimes.base import StartRequest
from agency.control.runtimes.process import ProcessRuntime

async def main():
    ports = {"pm": int(sys.argv[2]), "developer": int(sys.argv[3])}
    runtime = ProcessRuntime(Path(sys.argv[1]), clock=Clock(), port_of=ports.__getitem__)
    for name in ports:
        status = await runtime.start(StartRequest(name, name, None, "trace-1"))
        print(status.handle, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_parent_leaves_no_agent(
    make: Make, spawn, free_port, until, tmp_path: Path
) -> None:
    ports = (str(free_port()), str(free_port()))
    parent = spawn(sys.executable, "-c", PARENT, str(tmp_path / "state"), *ports)
    pids = [int(await asyncio.to_thread(parent.stdout.readline)) for _ in ports]
    runtime = make()
    assert processes_with_marker(runtime.marker) == tuple(sorted(pids))
    parent.kill()
    parent.wait()  # it holds its lock until then

    async def gone() -> bool:
        return processes_with_marker(runtime.marker) == ()

    await until(gone)  # by the kernel alone: the next runtime has done nothing yet
    assert token_file(tmp_path).exists(), "a killed parent cannot tidy up"
    assert await runtime.list() == ()
    assert not token_file(tmp_path).exists()


async def test_what_a_killed_predecessor_left_is_ended(
    make: Make, spawn, request_for, healthy
) -> None:
    runtime = make()
    leftover = spawn("sleep", "600", AGENCY_RUN=runtime.marker)
    decoy = spawn("sleep", "600", AGENCY_RUN=runtime.marker + "0")
    await runtime.start(request_for("pm"))
    assert leftover.wait(timeout=20) == -signal.SIGTERM
    assert decoy.poll() is None
    await healthy(runtime, "pm")


async def test_nobody_else_gets_an_agents_port(make: Make, request_for, ports, healthy) -> None:
    runtime, request = make(), request_for("pm")
    await runtime.start(request)  # its Python needs a while until it listens
    with somebody_binds(ports["pm"]) as got:
        await healthy(runtime, "pm")
        await runtime.restart(request)
        await healthy(runtime, "pm")
        os.kill(int((await runtime.status("pm")).handle), signal.SIGKILL)
        await runtime.stop("pm")
        await asyncio.sleep(0.1)
        await runtime.start(request)
        await healthy(runtime, "pm")
        assert got == []
    await runtime.close()
    with somebody_binds(ports["pm"]) as got:
        await asyncio.sleep(0.1)
    assert got, "the attack works on a port that nobody holds"


async def test_a_socket_that_was_handed_over_is_never_free(
    make: Make, request_for, ports, healthy
) -> None:
    request = request_for("pm")
    held = listening.listen(ports["pm"])
    with somebody_binds(ports["pm"]) as got:
        for _ in range(2):  # the control plane, and the one after it
            runtime = make(handed=listening.inherited([os.dup(held.fileno())]))
            await runtime.start(request)
            await healthy(runtime, "pm")
            await runtime.close()
        assert got == []
    held.close()
