"""An agent that works in a local agency: from a message to its answer, and its memory when idle.

The model is a stand-in in this process that asks for one tool and then answers; Synapse, control
plane, runtime, gateway, MCP server and proxy are real. The baseline of the time is the answer to a
command in the control room, that of the memory an agent without a program.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from agency import naming, rundir
from agency.clock import new_id
from agency.control import place_of
from agency.errors import AgencyError
from agency.instance import Instance, required_secrets
from agency.matrix import MatrixError, Person, client_path
from agency.protocols import GATEWAY_CONTROL_TOKEN, GatewayClient
from agency.secrets import EphemeralProvider
from agency.spinup.targets.local.agency import LocalAgency
from agency.spinup.targets.local.ports import CONTROL, hold_ports
from agency.spinup.targets.local.supervisor import Supervisor
from benchmarks.models import pss_mb
from benchmarks.rows import Row, percentile

_TASKS = 10
_WAIT_S = 60.0
_DOMAIN = "agency.example"
_ALICE, _BOB = (f"@{name}:{_DOMAIN}" for name in ("alice", "bob"))
_AGENT = naming.matrix_id(naming.agent_localpart("pm"), _DOMAIN)
_HELLO = "Hello. The tool said what it said."
_SERVER = """
from mcp.server.fastmcp import FastMCP
server = FastMCP("bench")
@server.tool()
def echo(text: str) -> str:
    return text
server.run()
"""


async def _answer(request: web.Request) -> web.StreamResponse:
    """Ask for the tool in the first turn of a task, and answer in the second."""
    body = await request.json()
    called = any(each["role"] == "tool" for each in body["messages"])
    call = {"name": "bench__echo", "arguments": json.dumps({"text": "hello"})}
    asked = [{"index": 0, "id": "call-1", "type": "function", "function": call}]
    delta = {"content": _HELLO} if called else {"tool_calls": asked}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if called else "tool_calls"}
    usage = {"prompt_tokens": 200, "completion_tokens": 10}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in ({"choices": [choice]}, {"choices": [], "usage": usage}):
        await response.write(b"data: %s\n\n" % json.dumps(event).encode())
    await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def _provider() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def _instance(provider: str, more: Sequence[str]) -> Instance:
    budget = {"tokensPerDay": 10_000_000, "usdPerDay": 100.0}
    price = {"input": 1.0, "output": 2.0}
    return Instance.model_validate(
        {
            "version": 1,
            "name": "bench",
            "domain": _DOMAIN,
            "operators": [_ALICE, _BOB],
            "models": {
                "providers": {"here": {"kind": "openai", "url": provider, "key": False}},
                "offered": {"small": {"provider": "here", "price": price}},
            },
            "agents": {
                **{
                    name: {"role": name, "program": {"model": "small", "budget": budget}}
                    for name in ("pm", *more)
                },
                "plain": {"role": "plain"},
            },
            "secrets": {"provider": "ephemeral"},
        }
    )


def _policy(room: str, agent: str) -> dict[str, Any]:
    """Make the Gosuto of an agent; pm has a tool."""
    tools = {
        "mcpServers": {"bench": {"command": [sys.executable, "-c", _SERVER]}},
        "capabilities": {"echo": {"tool": "bench/echo", "answer": "allow"}},
    }
    return {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": agent},
        "trust": {"rooms": [room], "senders": [_ALICE]},
        "limits": {"eventsPerMinute": 1000},
        "messaging": {"messagesPerMinute": 1000},
        **(tools if agent == "pm" else {}),
    }


@dataclass(slots=True)
class _Bench:
    agency: LocalAgency
    alice: Person
    bob: Person
    control: str
    room: str

    async def order(self, text: str) -> float:
        """Give a command in the control room; return the seconds to its answer."""
        begun = time.perf_counter()
        reply = await self.alice.ask(self.control, text, new_id("bench"))
        assert reply.ok, (text, reply)
        return time.perf_counter() - begun

    async def task(self) -> float:
        """Give the agent a task; return the seconds to its answer in the thread."""
        begun = time.perf_counter()
        content = {"msgtype": "m.text", "body": "hello", "m.mentions": {"user_ids": [_AGENT]}}
        event = await self.alice.send(self.room, content, new_id("bench"))

        def answered(found: Mapping[str, Any]) -> float | None:
            told = found.get("content", {})
            mine = told.get("org.agency.agent", {}).get("answers") == event
            said = told.get("m.new_content", told).get("body") == _HELLO
            return time.perf_counter() if mine and said else None

        ended = await self.alice.wait_for(answered, self.room, what="the answer", within_s=_WAIT_S)
        return ended - begun

    async def give_policy(self, place: Path, agent: str) -> None:
        """Hand the Gosuto in, and have the other operator approve it."""
        file = place / f"{agent}.json"
        file.write_text(json.dumps(_policy(self.room, agent)))
        socket = place_of(self.agency.run.path / CONTROL, {}).path
        argv = ("-m", "agency", "command", "--json", f"--socket={socket}", f"--attach={file}")
        asking = await asyncio.create_subprocess_exec(
            sys.executable, *argv, "gosuto", "set", agent, stdout=asyncio.subprocess.PIPE
        )
        waiting = ""
        async with asyncio.timeout(_WAIT_S):
            while not waiting:
                reply = await self.bob.ask(self.control, "!agency approvals list", new_id("bench"))
                waiting = next((w for w in reply.body.split() if w.startswith("op-")), "")
                await asyncio.sleep(0.2)
        approved = await self.bob.ask(self.control, f"approve {waiting[:9]}", new_id("bench"))
        said, _ = await asking.communicate()
        assert asking.returncode == 0, (approved, said)

    async def has_tools(self) -> None:
        """Wait until the gateway has the tools of its server."""
        gateway = self.directory("pm") / "gateway"
        token = (gateway / "credentials" / GATEWAY_CONTROL_TOKEN).read_text()
        client = GatewayClient(gateway / "control.sock", token)
        try:
            async with asyncio.timeout(_WAIT_S):
                while not await _has_tools(client):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        finally:
            await client.close()

    async def listens(self, agent: str) -> None:
        """Wait until the agent's account listens in rooms."""
        log = self.directory(agent) / "rooms" / "log"
        async with asyncio.timeout(_WAIT_S):
            while not (log.exists() and '"listening"' in log.read_text()):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.1)

    async def join(self, agent: str, place: Path) -> None:
        """Have a further agent work, without tools."""
        await self.give_policy(place, agent)
        await self.order(f"!agency agents start {agent}")
        await self.order(f"!agency gosuto push {agent}")
        await self.listens(agent)

    def directory(self, agent: str) -> Path:
        """Directory of an agent, in which its processes run."""
        return self.agency.run.path / CONTROL / "agents" / agent

    def memory(self, agent: str) -> float:
        """Memory of an agent's processes without its MCP servers, in MiB."""
        pids = [each for each in self.agency.pids() if _runs_in(each, self.directory(agent))]
        return sum(map(pss_mb, pids))


async def _has_tools(client: GatewayClient) -> bool:
    try:
        return any(each.health == "ok" for each in (await client.status()).servers)
    except AgencyError:  # it is about to start
        return False


def _runs_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == directory.resolve()
    except OSError:
        return False


async def _join(person: Person, room: str) -> str:
    """Join a room as soon as the homeserver lets one: the agents have just joined it, too."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            try:
                return await person.join(room)
            except MatrixError as error:
                if error.retry_after_s is None:
                    raise
                await asyncio.sleep(error.retry_after_s)


@asynccontextmanager
async def bench(place: Path, more: Sequence[str] = ()) -> AsyncIterator[_Bench]:
    """Start a local agency whose agent pm works, and wait until it does.

    `more` are further agents with a program, which are not started.
    """
    async with AsyncExitStack() as held:
        instance = _instance(await held.enter_async_context(_provider()), more)
        run = rundir.create(place, new_id("bench"))
        held.callback(run.remove)
        secrets = held.enter_context(EphemeralProvider(required_secrets(instance), run.credentials))
        session = await held.enter_async_context(aiohttp.ClientSession())
        ports = hold_ports(instance, {})
        agency = LocalAgency(instance, run, secrets, ports, session, Supervisor(run.run))
        held.callback(agency.close)
        held.push_async_callback(agency.supervisor.stop_all)
        agency.install()
        await agency.launch_models()
        await agency.start_homeserver()
        await agency.create_people()
        await agency.launch_control()
        await agency.control_ready()
        alice, bob = [await agency.log_in(each) for each in (_ALICE, _BOB)]
        control = await _join(alice, agency.control_room)
        await _join(bob, agency.control_room)
        body = {"preset": "private_chat", "invite": [_AGENT]}
        made = await alice.request("POST", client_path("createRoom"), body)
        on = _Bench(agency, alice, bob, control, str(made["room_id"]))
        await on.give_policy(place, "pm")
        await on.order("!agency agents start pm")
        await on.order("!agency agents start plain")
        await on.order("!agency gosuto push pm")
        await on.has_tools()
        await on.listens("pm")
        async with asyncio.timeout(_WAIT_S):
            path = client_path("rooms", on.room, "joined_members")
            while _AGENT not in (await alice.request("GET", path))["joined"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield on


async def measure(place: Path) -> list[Row]:
    """Measure time and memory on one local agency."""
    async with bench(place) as on:
        first = await on.task()
        orders, tasks = [], []
        for _ in range(_TASKS):
            orders.append(await on.order("!agency ping"))
            tasks.append(await on.task())
        proxy = pss_mb(on.agency.supervisor.children()["models"].pid)
        memory, plain = on.memory("pm") + proxy, on.memory("plain")
    ping = percentile(orders, 0.5)
    said = "a command in the control room"
    return [
        Row("working.hello.first", first, "s", said, ping, 3.0),
        Row("working.hello.p50", percentile(tasks, 0.5), "s", said, ping, 3.0),
        Row("working.agent.pss", memory, "MiB", "an agent without a program", plain, 190.0),
    ]


def rows() -> list[Row]:
    """Measure an agent that works."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        return asyncio.run(measure(Path(place)))
