"""A command-line agent apart from its account: the real host in a network of nothing but loopback.

Containers and units give more; what is tested here holds in both. The agent is a stand-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agency.agent.programs.command.apart import ApartError, Way, run_apart
from agency.agent.programs.command.handing import make_socket, receive, send
from agency.children import stat_fields

# Enters a network of its own, as a container or a unit has it, and becomes the host there.
ALONE = """
import os, sys
from agency import quarantine
if "apart" in sys.argv[1]: assert quarantine.enter().mode == "network-namespace"
os.execv(sys.executable, [sys.executable, "-I", "-m", "agency", "agent", "host", *sys.argv[2:]])
"""
# Does what its task says: each line is a call of a function below.
STAND_IN = """
import json, os, signal, socket, subprocess, sys, time

def reach(port):
    made = socket.create_connection(("127.0.0.1", port), 5)
    made.sendall(b"who?")
    return b"".join(iter(lambda: made.recv(100), b"")).decode()

def outside(host, port):
    try: socket.create_connection((host, port), 2).close()
    except OSError as error: return str(error.strerror or error)
    return "reached"

def leave(name):
    open(name, "w").write(str(subprocess.Popen(["sleep", "600"], start_new_session=True).pid))
    return name

def hang(name):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(name, "w").write(str(os.getpid())); time.sleep(600)

def told():
    config = open(os.environ["OPENCODE_CONFIG"]).read()
    return {"cwd": os.getcwd(), "env": sorted(os.environ), "config": config}

def shout(size): sys.stdout.write("x" * size); return ""
def fail(): sys.exit("no wish to work")

print(json.dumps([eval(line) for line in sys.stdin.read().splitlines()]))
"""
BOUNDS = (1 << 20, 1 << 16)


@asynccontextmanager
async def _serving(path: Path, text: str) -> AsyncIterator[Way]:
    """Serve who says who it is; yields the way there."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(text.encode())
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield lambda: asyncio.open_unix_connection(path)


@dataclass
class Host:
    """A host that runs; `socket` is where it takes tasks."""

    place: Path
    socket: Path
    process: asyncio.subprocess.Process
    ways: tuple[Way, Way]

    async def run(self, *lines: str, bounds: tuple[int, int] = BOUNDS) -> tuple[int, Any, str]:
        done = await run_apart(self.socket, "large", "\n".join(lines), self.ways, bounds)
        return done[0], json.loads(done[1] or b"null"), done[2].decode()


Open = Callable[..., Any]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    return lambda **more: _hosted(tmp_path, **more)


@asynccontextmanager
async def _hosted(
    place: Path, *, own: str = "confined", net: str = "apart", **more: Any
) -> AsyncIterator[Host]:
    (place / "program").write_text(STAND_IN)
    for name in ("model", "gateway"):
        (place / f"{name}-token").write_text(f"token-of-{name}")
    told = {
        "agent": "opencode",
        "program": [sys.executable, str(place / "program")],
        "modelToken": str(place / "model-token"),
        "gatewayToken": str(place / "gateway-token"),
        "ownTools": own,
        "workspace": str(place / "workspace"),
        "state": str(place / "own"),
        "listen": str(place / "tasks.sock"),
        **more,
    }
    (place / "host.json").write_text(json.dumps(told))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ALONE, net, "--config", str(place / "host.json")),
        env={"PATH": os.environ["PATH"], "A_SECRET": "of the host"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with (
            _serving(place / "proxy.sock", "the proxy") as model,
            _serving(place / "gateway.sock", "the gateway") as tools,
        ):
            yield Host(place, place / "tasks.sock", process, (model, tools))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


def runs(pid: int) -> bool:
    try:
        return stat_fields(pid)[0] not in ("Z", "X")
    except OSError:
        return False


async def until(holds: Callable[[], Awaitable[bool] | bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


async def test_its_two_ports_lead_where_the_account_says_and_nothing_leads_elsewhere(
    opened: Open,
) -> None:
    here = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = here.sockets[0].getsockname()[1]
    (await asyncio.open_connection("127.0.0.1", port))[1].close()  # from here it is reached
    async with opened() as host, here:
        tries = (f"outside('127.0.0.1', {port})", "outside('192.0.2.1', 443)")
        status, said, _ = await host.run("reach(2100)", "reach(2200)", *tries)
    assert status == 0
    assert said == ["the proxy", "the gateway", "Connection refused", "Network is unreachable"]


async def test_it_works_in_the_workspace_and_inherits_nothing(opened: Open) -> None:
    async with opened() as host:
        _, (told,), _ = await host.run("told()")
        assert told["cwd"] == str(host.place / "workspace")
        assert "A_SECRET" not in told["env"]
        assert "agency/large" in told["config"], "the model is that of the task"


async def test_off_it_is_not_even_in_the_workspace(opened: Open) -> None:
    async with opened(own="off") as host:
        _, (told,), _ = await host.run("told()")
        assert told["cwd"] == str(host.place / "own" / "run")


async def test_what_it_leaves_behind_ends_with_the_task(opened: Open) -> None:
    async with opened() as host:
        assert await host.run("leave('left')") == (0, ["left"], "")
        pid = int((host.place / "workspace" / "left").read_text())
        assert not runs(pid)


async def test_a_caller_that_is_gone_ends_it_and_the_next_gets_its_turn(opened: Open) -> None:
    async with opened() as host:
        first = asyncio.ensure_future(host.run("leave('left')", "hang('hangs')"))
        mark = host.place / "workspace" / "hangs"
        await until(lambda: mark.exists() and bool(mark.read_text()))
        second = asyncio.ensure_future(host.run("reach(2100)"))
        await asyncio.sleep(0.1)
        assert not second.done(), "one at a time"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second)[1] == ["the proxy"]
        for name in ("left", "hangs"):
            assert not runs(int((host.place / "workspace" / name).read_text()))


async def test_its_end_is_told_as_it_was(opened: Open) -> None:
    async with opened() as host:
        assert (await host.run("fail()"))[::2] == (1, "no wish to work\n")
        with pytest.raises(ApartError, match="it wrote more than 1000 bytes"):
            await host.run("shout(100_000)", bounds=(1000, 1000))
        (host.place / "program").unlink()
        with pytest.raises(ApartError, match="the program of opencode is not there"):
            await host.run("told()")


async def test_a_host_that_dies_is_told(opened: Open) -> None:
    async with opened() as host:
        running = asyncio.ensure_future(host.run("hang('hangs')"))
        mark = host.place / "workspace" / "hangs"
        await until(lambda: mark.exists() and bool(mark.read_text()))
        host.process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(mark.read_text()), 9)  # as its container or unit would
        with pytest.raises(ApartError, match="its host ended"):
            await running


async def test_what_is_no_task_is_refused_and_harms_nobody(opened: Open) -> None:
    async with opened() as host:
        assert (await host.run())[0] == 0
        for told in ({"model": 3}, {"model": "small"}):
            there = make_socket()
            with there:
                await asyncio.get_running_loop().sock_connect(there, str(host.socket))
                send(there, told)
                assert "no task" in (await receive(there)).told["error"]
        assert (await host.run("reach(2200)"))[1] == ["the gateway"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
async def test_nobody_but_its_caller_is_heard(opened: Open) -> None:
    async with opened(caller="nobody") as host:
        await until(host.socket.exists)
        with pytest.raises(ApartError, match="its host ended"):
            await host.run("told()")


async def test_where_more_than_loopback_is_reached_it_does_not_begin(opened: Open) -> None:
    """As by hand, or where a container was given a network."""
    reason = b"more than loopback is reached from here"
    if not _has_network():
        pytest.skip("this machine has no network that it could be given")
    async with opened(net="all") as host:
        _, said = await host.process.communicate()
        assert host.process.returncode == 3
        assert reason in said


def _has_network() -> bool:
    from agency import quarantine

    return any(each.outcome != "unreachable" for each in quarantine.attempt_outbound(0.2))
