"""Simulated agents: a runtime and their ACP in one, and a control plane around them."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from desk import BOT, ROOM, Desk
from gosutos import filled

from agency.control.acp_client import AcpLieError, AcpRefusedError, AcpUnreachableError
from agency.control.agents.history import Respawns
from agency.control.agents.inventory import Inventory
from agency.control.agents.reconciler import Reconciler
from agency.control.agents.staff import Staff
from agency.control.agents.tasks import Tasks
from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.conditions import Code
from agency.control.config import AgentEntry, Limits
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.result import RefusalError
from agency.control.gosuto.desk import GosutoDesk
from agency.control.operations import Operations
from agency.control.rooms.speaking import Speaker
from agency.control.runtimes.base import (
    AgentRuntimeError,
    Endpoint,
    RuntimeStatus,
    StartRequest,
    State,
    Usage,
)
from agency.control.service.targets import AgentTargets
from agency.control.store import agents
from agency.control.store import gosuto as versions
from agency.control.store.agents import AgentRecord
from agency.control.store.gosuto import Version
from agency.errors import AgencyError
from agency.gosuto import canonical
from agency.protocols import AgentStatus, Health, Status, TaskReport, TasksCancelled
from agency.secrets import SecretValue


@dataclass
class Herd:
    """Agents that are noted down: a runtime, and what they answer over ACP."""

    running: dict[str, tuple[StartRequest, int]] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)  # died by itself, and why
    recovering: set[str] = field(default_factory=set)
    roles: dict[str, str] = field(default_factory=dict)  # reported, in place of its own
    broken: set[str] = field(default_factory=set)  # cannot be started
    blind: dict[str, Exception] = field(default_factory=dict)  # what their runtime raises
    calls: list[str] = field(default_factory=list)
    tasks: dict[str, tuple[TaskReport, ...]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # run, and do not answer
    says: str = "no answer within 3 s"  # why a silent one does not
    asked: list[tuple[str, str]] = field(default_factory=list)  # for a report, by which trace
    held: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # documents, by their process
    lies: dict[str, bytes] = field(
        default_factory=dict
    )  # what it says that it holds, whatever it does
    refuses: set[str] = field(default_factory=set)  # takes no document
    pids: Any = field(default_factory=lambda: itertools.count(100))

    def kind_of(self, _name: str) -> str:
        return "herd"

    async def start(self, request: StartRequest) -> RuntimeStatus:
        self.calls.append(f"start {request.name}")
        if request.name in self.broken:
            raise AgentRuntimeError("no port")
        self.running.setdefault(request.name, (request, next(self.pids)))
        self.dead.pop(request.name, None)
        return await self.status(request.name)

    async def stop(self, name: str) -> RuntimeStatus:
        self.calls.append(f"stop {name}")
        self.running.pop(name, None)
        self.dead.pop(name, None)
        return await self.status(name)

    async def remove(self, name: str) -> None:
        self.calls.append(f"remove {name}")
        await self.stop(name)

    async def restart(self, request: StartRequest) -> RuntimeStatus:
        await self.stop(request.name)
        return await self.start(request)

    async def status(self, name: str) -> RuntimeStatus:
        if name in self.blind:
            raise self.blind[name]
        if name in self.running:
            return RuntimeStatus(name, State.RUNNING, str(self.running[name][1]))
        if name in self.dead:
            again = name in self.recovering
            return RuntimeStatus(name, State.FAILED, detail=self.dead[name], recovering=again)
        return RuntimeStatus(name, State.STOPPED)

    async def list(self) -> tuple[RuntimeStatus, ...]:
        return tuple([await self.status(name) for name in sorted(self.running)])

    async def usage(self, _name: str) -> Usage:
        return Usage()

    async def log_tail(self, _name: str, _lines: int) -> tuple[str, ...]:
        return ()

    def secrets(self) -> tuple[SecretValue, ...]:
        return tuple(SecretValue(f"token-{pid:012}") for _, pid in self.running.values())

    def endpoint(self, name: str) -> Endpoint | None:
        return Endpoint("http://x", "token", name) if name in self.running else None

    async def close(self) -> None:
        pass

    def document(self, name: str) -> bytes | None:
        """What the process of an agent says that it holds."""
        if name in self.lies:
            return self.lies[name]
        pid, document = self.held.get(name, (0, b""))
        return document if pid == self.running[name][1] else None

    def kill(self, name: str, why: str = "ended by SIGKILL") -> None:
        self.running.pop(name, None)
        self.dead[name] = why

    def replace(self, name: str) -> None:
        """Run another process, as somebody on the machine may."""
        request, _ = self.running[name]
        self.running[name] = (request, next(self.pids))


@dataclass
class Answers:
    """What the agents of a herd answer over ACP."""

    herd: Herd

    async def wait_healthy(
        self,
        endpoint: Endpoint,
        trace: str,
        timeout: float,  # noqa: ASYNC109 - the client's signature
        still_running: Callable[[], Awaitable[bool]],
    ) -> Health:
        return Health(status="ok", agent=endpoint.agent or "")

    async def cancel(
        self, endpoint: Endpoint, trace: str, task: str | None = None, *, key: str | None = None
    ) -> TasksCancelled:
        name = endpoint.agent or ""
        self.herd.calls.append(f"cancel {task} of {name} by {key}")
        held = self.herd.tasks.pop(name, ())
        return TasksCancelled(agent=name, tasks=held)

    async def status(self, endpoint: Endpoint, trace: str) -> Status:
        name = endpoint.agent or ""
        request, pid = self.herd.running[name]
        return Status(
            agent=name,
            role=self.herd.roles.get(name, request.role),
            version="1",
            pid=pid,
            project=request.project,
            started_at="2026-01-01T00:00:00.000Z",
            uptime_s=1.0,
            trace=request.trace,
        )

    async def report(self, endpoint: Endpoint, trace: str) -> AgentStatus:
        name = endpoint.agent or ""
        self.herd.asked.append((name, trace))
        if name in self.herd.silent:
            raise AcpUnreachableError(self.herd.says)
        told, held = await self.status(endpoint, trace), self.herd.document(name)
        return AgentStatus(
            **told.model_dump(),
            incarnation=f"run-{told.pid}",
            config_sha256=None if held is None else sha256(held).hexdigest(),
            secrets=(),
            mcp_servers=(),
            tasks=(),
        )


@dataclass
class Push:
    """The way by which documents are given to the agents of a herd."""

    herd: Herd

    async def apply(self, agent: str, document: bytes, trace: str) -> bool:
        herd = self.herd
        herd.calls.append(f"push {agent}")
        if agent not in herd.running:
            raise RefusalError(f"{agent} does not run")
        if agent in herd.refuses:
            raise AcpRefusedError("it refuses the document", status=422)
        before = herd.document(agent)
        herd.held[agent] = (herd.running[agent][1], document)
        if herd.document(agent) != document:
            raise AcpLieError("the agent says that it holds something else")
        return before != document


class Farm:
    """A control plane over simulated agents: a real store, real operations and the reconciler."""

    def __init__(self, desk: Desk, names: tuple[str, ...] = ("dev", "pm"), **rules: Any) -> None:
        self.desk, self.names, self.herd = desk, names, Herd()
        self.rules = Respawns(**rules)
        self.entries = [
            AgentEntry(name=name, role=name, matrix_id=f"@agent-{name}:x.org", port=20000 + n)
            for n, name in enumerate(names)
        ]
        self.runtime_kind, self.left = "process", list[str]()
        self.held: tuple[SecretValue, ...] = ()  # of every agent, from the vault
        self.locked: AgencyError | None = None  # why the vault cannot be read
        self.accounts = {"@lent:x.org", "@carol:x.org"}
        self.shown: dict[str, tuple[str, str]] = {}
        self.logins, self.logouts = list[str](), list[str]()
        self.away: Exception | None = None  # what the homeserver answers

    async def open(self) -> None:
        """Start the control plane, again, over the same store and agents."""
        desk = self.desk
        await desk.database.write(lambda c: agents.synchronise(c, self.names, desk.clock.now_ms()))

        created = await desk.database.read(agents.created)
        self.inventory = Inventory(self.entries, created)

        async def records() -> Mapping[str, AgentRecord]:
            return {each.name: each for each in await desk.database.read(agents.records)}

        async def some(names: Collection[str]) -> Mapping[str, AgentRecord]:
            return await desk.database.read(lambda c: agents.records_of(c, names))

        self.lifecycle = Lifecycle(
            self.inventory,
            self.herd,
            Answers(self.herd),
            Limits(),
            records,
            read=some,
            agent_secrets=self.secrets_of,
            is_created=self.inventory.is_created,
        )
        desk.targets = AgentTargets(
            self.lifecycle,
            is_dismissed=lambda record: desk.database.read(
                lambda c: agents.is_dismissed(c, record)
            ),
        )
        self.staff = self.make_staff()
        self.gosuto = GosutoDesk(desk.database, self.inventory, Push(self.herd), self._lied)
        services = Services(
            desk.clock,
            desk.database,
            self.lifecycle,
            GRAMMAR,
            desk.conditions,
            decisions=lambda: self.operations.decisions,
            safety=lambda: self.operations.safety,
            staff=self.staff,
            gosuto=lambda: self.gosuto,
        )
        desk.handlers = dict(build_handlers(services))
        self.operations: Operations = desk.make_operations(self.inventory.apply)
        await self.operations.safety.restore()
        traces = itertools.count(1)
        begun = desk.clock.now_ms()
        self.watch = Reconciler(
            speaker=Speaker(
                database=desk.database,
                clock=desk.clock,
                room_id=lambda: ROOM,
                as_user=BOT,
                new_trace=lambda: f"t-w{begun}-{next(traces)}",
                say=desk.say_to,
                max_outbox=1000,
            ),
            lifecycle=self.lifecycle,
            operations=self.operations,
            grammar=GRAMMAR,
            conditions=desk.conditions,
            rules=self.rules,
        )

    def make_staff(self) -> Staff:
        """Make what employs agents, with accounts that are only noted down."""
        farm = self

        class Noted:
            def is_ours(self, user: str) -> bool:
                return user.startswith("@agent-")

            async def exists(self, user: str) -> bool:
                return user in farm.accounts

            async def register(self, user: str) -> None:
                farm.accounts.add(user)

            async def show(self, user: str, display_name: str, avatar: str = "") -> None:
                farm.shown[user] = (display_name, avatar)

            async def admit(self, _room: str, _user: str) -> str:
                return ""

            async def log_in(self, user: str) -> str:
                farm.logins.append(user)
                return f"syt_{len(farm.logins)}_{user.partition(':')[0][1:]}"

            async def log_out(self, user: str) -> None:
                farm.logouts.append(user)

            async def dismiss(self, user: str, _room: str | None) -> int:
                if farm.away is not None:
                    raise farm.away
                farm.left.append(user)
                return 1

        return Staff(
            inventory=self.inventory,
            lifecycle=self.lifecycle,
            accounts=Noted(),
            members=[],
            runtime=self.runtime_kind,
            domain="x.org",
            room_id=lambda: ROOM,
            records=self.lifecycle.records,
            wake=lambda: None,
            tasks=Tasks(self.lifecycle, Answers(self.herd)),
            people=lambda: {*self.operations.rules.policy.people.everybody, "@agency:x.org"},
        )

    def _lied(self, name: str, number: int) -> None:
        self.desk.conditions.note(
            Code.AGENT_LIES, f"{name} lies about version {number}", subject=name
        )

    async def give(self, name: str, text: str) -> bytes:
        """Store another version of an agent's document; return what it is."""
        document = canonical(filled("cron-agent", name, task=text))

        def add(connection: Any) -> None:
            before = versions.newest(connection, name)
            number = 1 if before is None else before.number + 1
            digest, made = sha256(document).hexdigest(), document.decode()
            versions.add(connection, Version(name, number, digest, "@a:x.org", 0, "t", "a", made))

        await self.desk.database.write(add)
        return document

    async def secrets_of(self, _name: str) -> tuple[SecretValue, ...]:
        if self.locked is not None:
            raise self.locked
        return self.held

    async def say(self, text: str, by: str = "@alice:x.org") -> str:
        await self.desk.take(self.desk.event(text, sender=by))
        await self.desk.finish(self.operations)
        return str((await self.desk.said())[-1]["body"])

    async def look(self, passes: int = 2) -> None:
        """Let the reconciler look, act and look at what came of it."""
        for _ in range(passes):
            await self.watch.look()
            await self.settle()

    async def settle(self) -> None:
        """Let what the reconciler asked for run."""
        settling = asyncio.create_task(self.watch.settle())
        while not settling.done():
            await self.desk.finish(self.operations)
            await asyncio.sleep(0.001)
        await settling

    async def notices(self) -> list[str]:
        """What the room was told that answers no command, without trace ids."""
        return [
            re.sub(r" Trace: \S+", "", str(content["body"]))
            for content in await self.desk.said()
            if "org.agency.reply" not in content
        ]
