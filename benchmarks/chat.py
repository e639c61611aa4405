"""Reply latency beside a bare echo appservice, and the memory of the control plane."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml

from agency import naming, ports, rundir
from agency.clock import new_id
from agency.instance.load import load_instance
from agency.instance.secret_provider import open_provider
from agency.matrix import Person, client_path
from agency.protocols.reply import REPLY_KEY
from agency.spinup.probes.homeserver import rss_mb
from agency.spinup.targets.local.agency import LocalAgency, hold_ports
from agency.spinup.targets.local.supervisor import Supervisor
from benchmarks.rows import Row, percentile

_COMMANDS = 200
_MEMORY_COMMANDS = 1000
_TOGETHER = 10
_WAIT_S = 30.0
STRANGER = "stranger"  # localpart of a user who is no operator


@dataclass(slots=True)
class Stopwatch:
    """Stopwatch of a person whose /sync runs all the time: notes when final replies are visible."""

    person: Person
    _waiting: dict[str, asyncio.Future[float]]
    _early: dict[str, float]

    @classmethod
    def of(cls, person: Person) -> Stopwatch:
        """Make a stopwatch that has seen nothing yet."""
        return cls(person, {}, {})

    async def follow(self) -> None:
        """Sync for ever."""
        since: str | None = None
        while True:
            query = {"timeout": "10000"} | ({"since": since} if since else {})
            answer = await self.person.request("GET", client_path("sync"), query=query, wait_s=10.0)
            now, since = time.perf_counter(), answer["next_batch"]
            for room in answer.get("rooms", {}).get("join", {}).values():
                for event in room["timeline"]["events"]:
                    meta = event["content"].get(REPLY_KEY, {})
                    command = meta.get("command") if meta.get("final") is True else None
                    if command in self._waiting:
                        self._waiting.pop(command).set_result(now)
                    elif command:
                        self._early[command] = now

    async def ask(self, room: str, text: str) -> float:
        """Measure the seconds from the accepted message to its reply visible in /sync."""
        event_id = await self.person.say(room, text, new_id("bench"))
        accepted = time.perf_counter()
        if event_id in self._early:
            return self._early.pop(event_id) - accepted
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[event_id] = future
        return await asyncio.wait_for(future, _WAIT_S) - accepted


@dataclass(frozen=True, slots=True)
class Echo:
    """Echo appservice: its port, its domain, and its two tokens."""

    port: int
    domain: str
    as_token: str
    hs_token: str

    @property
    def bot(self) -> str:
        """Matrix id of its bot."""
        return f"@echo:{self.domain}"

    def registration(self) -> bytes:
        """Write its registration for Synapse."""
        return yaml.safe_dump(
            {
                "id": "echo",
                "url": f"http://127.0.0.1:{self.port}",
                "as_token": self.as_token,
                "hs_token": self.hs_token,
                "sender_localpart": "echo",
                "rate_limited": False,
                "namespaces": {
                    "users": [{"exclusive": True, "regex": f"@echo.*:{re.escape(self.domain)}"}]
                },
            }
        ).encode()


@asynccontextmanager
async def _echo_running(echo: Echo, homeserver: str) -> AsyncIterator[None]:
    argv = [sys.executable, "-m", "benchmarks.echo", homeserver, str(echo.port), echo.bot]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE)  # noqa: ASYNC220 - returns at once
    assert process.stdin is not None
    process.stdin.write(f"{echo.as_token}\n{echo.hs_token}\n".encode())
    process.stdin.close()
    try:
        async with asyncio.timeout(_WAIT_S):
            while not ports.is_listening(echo.port):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def stranger_of(agency: LocalAgency) -> str:
    """Return the Matrix id of the person who is no operator."""
    return naming.matrix_id(STRANGER, agency.instance.domain)


@dataclass(frozen=True, slots=True)
class Bench:
    """Local agency and an operator who asks it in `control`, and the bare echo in `other`."""

    agency: LocalAgency
    operator: Person
    watch: Stopwatch
    control: str
    other: str


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Start a local agency and an echo beside it, and follow what its operator sees."""
    with tempfile.TemporaryDirectory() as place:
        async with _agency_with_echo(Path(place)) as (agency, echo):
            operator = await agency.log_in(agency.instance.operators[0])
            control = await operator.join(agency.control_room)
            other = await _echo_room(agency, operator, echo, control)
            watch = Stopwatch.of(operator)
            following = asyncio.ensure_future(watch.follow())
            try:
                yield Bench(agency, operator, watch, control, other)
            finally:
                following.cancel()


@asynccontextmanager
async def _agency_with_echo(place: Path) -> AsyncIterator[tuple[LocalAgency, Echo]]:
    loaded = load_instance(Path("instance"))
    run = rundir.create(place, new_id("bench"))
    provider = open_provider(loaded, run.credentials)
    async with aiohttp.ClientSession() as session:
        own = hold_ports(loaded.instance, {})
        agency = LocalAgency(loaded.instance, run, provider, own, session, Supervisor(run.run))
        echo = Echo(
            port=ports.assign(("echo",), {})["echo"],
            domain=loaded.instance.domain,
            as_token=secrets.token_hex(24),
            hs_token=secrets.token_hex(24),
        )
        file = run.credentials / "echo.yaml"
        file.touch(mode=0o600)
        file.write_bytes(echo.registration())
        agency.extra_registrations.append(file)
        try:
            agency.install()
            await agency.start_homeserver()
            await agency.create_people(STRANGER)
            async with _echo_running(echo, agency.homeserver_url):
                await agency.launch_control()
                await agency.control_ready()
                yield agency, echo
        finally:
            await agency.supervisor.stop_all()
            agency.close()
            provider.close()
            run.remove()


async def _echo_room(agency: LocalAgency, operator: Person, echo: Echo, control: str) -> str:
    """Make a room of the echo appservice with as many members as the control room has."""
    path = client_path("rooms", control, "joined_members")
    members = len((await operator.request("GET", path))["joined"])
    created = await operator.request("POST", client_path("createRoom"), {"preset": "private_chat"})
    room = str(created["room_id"])
    headers = {"Authorization": f"Bearer {echo.as_token}"}
    base = f"{agency.homeserver_url}/_matrix/client/v3"
    for name in ("echo", *(f"echo-{n}" for n in range(members - 2))):
        user = f"@{name}:{echo.domain}"
        if name != "echo":
            body = {"type": "m.login.application_service", "username": name}
            async with agency.session.post(f"{base}/register", json=body, headers=headers) as made:
                made.raise_for_status()
        await operator.invite(room, user)
        where = f"{base}/join/{room}"
        as_user = {"user_id": user}
        async with agency.session.post(where, json={}, headers=headers, params=as_user) as joined:
            joined.raise_for_status()
    return room


async def _measure() -> list[Row]:
    async with bench() as on:
        latency = await _latency(on.watch, on.control, on.other)
        memory = await _memory(on.agency, on.watch, on.control)
    return [*latency, *memory]


async def _latency(watch: Stopwatch, control: str, other: str) -> list[Row]:
    for room in (control, other) * 5:
        await watch.ask(room, "!agency ping")
    ours, bare = [], []
    for _ in range(_COMMANDS):
        ours.append(await watch.ask(control, "!agency ping"))
        bare.append(await watch.ask(other, "!agency ping"))
    limits = (("p50", 0.50, 1.5), ("p99", 0.99, 2.0))
    return [
        Row(
            name=f"chat.reply.{label}",
            value=percentile(ours, share) * 1000,
            unit="ms",
            baseline="bare echo appservice on the same Synapse",
            baseline_value=percentile(bare, share) * 1000,
            limit=limit,
            limit_on="ratio",
        )
        for label, share, limit in limits
    ]


async def _memory(agency: LocalAgency, watch: Stopwatch, control: str) -> list[Row]:
    pid = agency.supervisor.children()["control"].pid
    said = 5 + _COMMANDS
    at_half = 0.0
    while said < _MEMORY_COMMANDS:
        if not at_half and said >= _MEMORY_COMMANDS // 2:
            at_half = rss_mb(pid)
        await asyncio.gather(*(watch.ask(control, "!agency ping") for _ in range(_TOGETHER)))
        said += _TOGETHER
    after = rss_mb(pid)
    return [
        Row("control.rss", after, "MiB", "control plane after 500 commands", at_half, 120),
        Row(
            "control.rss.growth",
            after - at_half,
            "MiB",
            "control plane after 500 commands",
            at_half,
            5,
        ),
    ]


def rows() -> list[Row]:
    """Measure latency and memory on one local agency."""
    return asyncio.run(_measure())
