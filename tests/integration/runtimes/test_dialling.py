"""`agency agent run --dial`: an agent that listens nowhere and serves on lines that it makes."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from gosutos import filled

from agency.control.acp_client import AcpClient, AcpError, AcpUnreachableError
from agency.control.runtimes.base import Endpoint
from agency.control.runtimes.docker.relay import Relay
from agency.gosuto import canonical
from agency.protocols.acp import TOKEN_CREDENTIAL


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


@pytest.fixture
def agent(
    tmp_path: Path, token: str, free_port: Callable[[], int]
) -> Iterator["subprocess.Popen[str]"]:
    """The process of an agent that dials `pm/acp.sock` below the test's directory."""
    place = tmp_path / "pm"
    place.mkdir()
    (place / TOKEN_CREDENTIAL).write_text(token)
    config = place / "agent.json"
    config.write_text(json.dumps({"name": "pm", "role": "pm", "port": free_port()}))
    argv = [sys.executable, "-m", "agency", "agent", "run", "--json", "--config", str(config)]
    process = subprocess.Popen(
        [*argv, "--dial", str(place / "acp.sock")],
        env={"PATH": os.defpath, "CREDENTIALS_DIRECTORY": str(place)},
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
async def relay(tmp_path: Path, agent: "subprocess.Popen[str]") -> AsyncIterator[Relay]:
    relay = Relay(tmp_path, "pm")
    yield relay
    await relay.close()


def endpoint(relay: Relay, token: str) -> Endpoint:
    return Endpoint("http://pm", token, "pm", socket=relay.front)


async def running() -> bool:
    return True


async def test_it_serves_who_it_dialled(agent, relay: Relay, token: str, acp: AcpClient) -> None:
    await relay.open()
    await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
    told = await asyncio.gather(*(acp.status(endpoint(relay, token), "trace-1") for _ in range(12)))
    assert {status.pid for status in told} == {agent.pid}
    with pytest.raises(AcpError, match="token"):
        await acp.status(endpoint(relay, "wrong"), "trace-1")


def sockets(pid: int) -> tuple[set[str], set[str]]:
    """The sockets of a process, and those of all processes that are of TCP."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    tables = (Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6"))
    rows = (row.split() for table in tables for row in table.splitlines()[1:])
    return {each for each in links if each.startswith("socket:")}, {
        f"socket:[{row[9]}]" for row in rows
    }


async def test_who_follows_its_events_leaves_lines_for_others(
    agent, relay: Relay, token: str, acp: AcpClient
) -> None:
    await relay.open()
    await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
    async with aclosing(acp.events(endpoint(relay, token), "trace-1")) as events:
        following = asyncio.create_task(anext(events))
        await asyncio.sleep(0.3)  # it follows from now on
        told = await acp.apply(endpoint(relay, token), "trace-2", canonical(filled("pm")))
        assert told.changed
        event = await asyncio.wait_for(following, 20)
        assert (event.agent, event.kind) == ("pm", "config.applied")
        asked = (acp.health(endpoint(relay, token), "trace-3") for _ in range(20))
        assert {each.status for each in await asyncio.gather(*asked)} == {"ok"}


async def test_a_restart_by_acp_dials_again(
    agent, relay: Relay, token: str, acp: AcpClient, until
) -> None:
    await relay.open()
    await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
    first = (await acp.report(endpoint(relay, token), "trace-1")).incarnation
    await acp.restart(endpoint(relay, token), "trace-2", "a test")

    async def began() -> bool:
        try:
            report = await acp.report(endpoint(relay, token), "trace-3")
        except AcpUnreachableError:
            return False
        return report.incarnation != first

    await until(began)
    assert agent.poll() is None
    own, of_tcp = sockets(agent.pid)
    assert not own & of_tcp


async def test_it_listens_nowhere(agent, relay: Relay, token: str, acp: AcpClient) -> None:
    await relay.open()
    await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
    own, of_tcp = sockets(agent.pid)
    assert own
    assert not own & of_tcp


async def test_it_comes_back_to_a_control_plane_that_was_away(
    agent, relay: Relay, token: str, acp: AcpClient
) -> None:
    for _ in range(2):
        await relay.open()
        await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
        before = endpoint(relay, token)
        await relay.close()
        with pytest.raises(AcpUnreachableError):
            await acp.health(before, "trace-1")
        await asyncio.sleep(0.3)
    assert agent.poll() is None


@pytest.mark.parametrize("dialled", [True, False])
async def test_it_ends_cleanly_whether_it_is_heard_or_not(
    agent, relay: Relay, token: str, acp: AcpClient, dialled: bool
) -> None:
    if dialled:
        await relay.open()
        await acp.wait_healthy(endpoint(relay, token), "trace-1", 30, running)
    else:
        line = await asyncio.to_thread(agent.stderr.readline)
        while "does not answer" not in line:
            line = await asyncio.to_thread(agent.stderr.readline)
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(agent.wait, 30) == 0
    assert token not in agent.stderr.read()


def test_it_cannot_listen_and_dial(tmp_path: Path, agent: "subprocess.Popen[str]") -> None:
    argv = [sys.executable, "-m", "agency", "agent", "run", "--json", "--config"]
    both = [str(tmp_path / "pm" / "agent.json"), "--dial", "/x", "--listen-fd", "0"]
    done = subprocess.run([*argv, *both], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
