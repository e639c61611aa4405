"""Operations over a real store, with handlers that each test chooses."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from agency.clock import Clock
from agency.control.appservice.transactions import Intake
from agency.control.commands import GRAMMAR, looks_like_command, wish_for
from agency.control.conditions import Conditions
from agency.control.execution.classify import Rules
from agency.control.execution.result import Handler, Invocation, Result
from agency.control.grammar.command import Command
from agency.control.operations import Operations, State, Targets
from agency.control.operations.admitting.admission import Bounds
from agency.control.operations.approving.plan import Planner, plan_nothing
from agency.control.operations.running.dispatch import HandIn, take_none
from agency.control.operations.running.showing import AFTER_S, EVERY_S
from agency.control.policy import Allow, Decision, Needs, People, Policy, Ruled
from agency.control.rooms.deletions import Deletions
from agency.control.store import agents, audit, inbox, outbox
from agency.control.store import operations as stored
from agency.control.store.outbox import StoredMessage
from agency.control.wish import Wish
from agency.matrix import Backoff
from agency.store.database import Database

ROOM = "!control:x.org"
BOT = "@agency:x.org"
ALICE = "@alice:x.org"
BOB = "@bob:x.org"


async def can_answer(_room_id: str) -> str | None:
    """Say that nothing keeps the bot from answering."""
    return None


@dataclass
class DeskTargets:
    """Targets that are stopped, whatever is wished, and that nothing mends."""

    database: Database

    async def wish(self, command: Command) -> Wish | None:
        return await self.asked(command)

    async def asked(self, command: Command) -> Wish | None:
        make = wish_for(command)
        return make and make(command, await self.recorded(command.target or ""), False)

    async def recorded(self, target: str) -> Wish | None:
        return await self.database.read(lambda c: agents.wish_of(c, target))

    async def remedy(self, _target: str, _trace: str) -> Command | None:
        return None

    async def observe(self, _command: Command, _trace: str) -> str:
        return "pm is stopped"


@dataclass
class Desk:
    """The parts of the control plane between its HTTP server and its sender."""

    database: Database
    clock: Clock
    held: Any
    calls: list[str] = field(default_factory=list)
    spoken: list[StoredMessage] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)
    max_outbox: int = 1000
    max_inbox: int = 1000
    max_target_queue: int = 1000
    targets: Targets | None = None
    plan: Planner = plan_nothing
    card_pace_s: tuple[float, float] = (AFTER_S, EVERY_S)
    hand_in: HandIn = take_none
    obstacle: Callable[[str], Awaitable[str | None]] = can_answer
    policy: Policy = field(default_factory=lambda: Policy(People(frozenset({ALICE, BOB}))))
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        for spec in GRAMMAR.commands:
            self.handlers[spec.name] = self._handler(spec.name)
        self.conditions = Conditions(self.clock)
        self.intake = self.make_intake()
        self.say_to = self.spoken.append

    def _handler(self, name: str) -> Handler:
        async def handle(invocation: Invocation) -> Result:
            self.calls.append(f"{name} by {invocation.sender}")
            return Result(f"did {name}")

        return handle

    def make_intake(self) -> Intake:
        return Intake(
            database=self.database,
            clock=self.clock,
            new_trace=lambda: f"t-{next(self._numbers)}",
            looks_like_command=looks_like_command,
            max_inbox=self.max_inbox,
            wake=asyncio.Event(),
            conditions=self.conditions,
        )

    def make_operations(
        self, applied: Callable[[Sequence[Any]], None] = lambda _changes: None
    ) -> Operations:
        return Operations(
            database=self.database,
            clock=self.clock,
            rules=Rules(
                ROOM,
                self.policy,
                BOT,
                frozenset({"@agent-pm:x.org"}),
                "x.org",
                600,
                looks_like_command,
            ),
            grammar=GRAMMAR,
            handler=lambda command: self.handlers[command.name],
            targets=self.targets or DeskTargets(self.database),
            max_command_bytes=4096,
            max_outbox=self.max_outbox,
            max_target_queue=self.max_target_queue,
            wake=self.intake.wake,
            say=self.say_to,
            applied=applied,
            backoff=Backoff(first_s=0.001, longest_s=0.002),
            plan=self.plan,
            card_pace_s=self.card_pace_s,
            hand_in=self.hand_in,
            obstacle=self.obstacle,
        )

    def event(self, text: str, **changes: Any) -> dict[str, Any]:
        number = next(self._numbers)
        return {
            "type": "m.room.message",
            "event_id": f"$e{number}",
            "room_id": ROOM,
            "sender": ALICE,
            "origin_server_ts": self.clock.now_ms(),
            "content": {"msgtype": "m.text", "body": text},
            **changes,
        }

    async def take(self, *events: Any, txn: str | None = None) -> int:
        return await self.intake.take(txn or f"txn{next(self._numbers)}", list(events))

    async def delete(self, operations: Operations, event_id: str, by: str) -> bool:
        """Deliver the deletion of a message; return whether a command was withdrawn by it."""
        bounds = Bounds(GRAMMAR, 4096, 60.0)
        self.intake.take_back = Deletions(self.clock, self.policy, bounds)
        self.intake.forget = operations.forget
        before = await self.outcomes()
        redaction = {"type": "m.room.redaction", "content": {"redacts": event_id}, "sender": by}
        await self.take(self.event("", **redaction))
        return "withdrawn" in [row[2] for row in (await self.outcomes())[len(before) :]]

    async def settle(self) -> None:
        """Start new operations, as a fresh control plane does, and let them finish all work."""
        await self.finish(self.make_operations())

    async def finish(self, operations: Operations) -> None:
        """Let `operations` finish all work; an error ends them as a crash would."""
        try:
            while await operations.step() or operations.active:
                await operations.rest()
            await operations.conclude()
        except BaseException:
            await operations.close()
            raise

    async def say(self, text: str, **changes: Any) -> list[dict[str, Any]]:
        """Deliver one message and settle it; return the replies to it."""
        event = self.event(text, **changes)
        await self.take(event)
        await self.settle()
        return [
            content
            for content in await self.said()
            if content["org.agency.reply"]["command"] == event["event_id"]
        ]

    async def said(self) -> list[dict[str, Any]]:
        """Return the contents of every message in the outbox."""
        statement = text("SELECT content FROM outbox ORDER BY sequence")
        found = await self.database.read(lambda connection: connection.scalars(statement).all())
        return [json.loads(content) for content in found]

    async def outcomes(self) -> list[tuple[str, str, str]]:
        """Return actor, action and outcome of every audit row but the first."""
        rows = await self.database.read(lambda c: audit.tail(c, 1000))
        return [(row.actor, row.action, row.outcome) for row in rows[1:]]

    async def details(self) -> list[dict[str, Any]]:
        rows = await self.database.read(lambda c: audit.tail(c, 1000))
        return [json.loads(row.detail) for row in rows[1:]]

    async def unfinished(self) -> int:
        """Count the commands that are not settled: in the inbox, or as operations."""
        waiting = await self.database.read(inbox.unfinished)
        return waiting + sum((await self.states()).values())

    async def states(self) -> dict[State, int]:
        """Count the operations of every state that is not final."""
        return await self.database.read(stored.counts)

    async def unsent(self) -> int:
        return await self.database.read(outbox.pending)


class Strict(Policy):
    """A policy by which a second person approves each start."""

    def decide(self, actor: str, command: Ruled | None, target: str) -> Decision:
        decided = super().decide(actor, command, target)
        needs = command is not None and command.permission == "agents.start"
        return Needs("two-people") if needs and isinstance(decided, Allow) else decided


def strict(desk: Desk) -> Operations:
    """Make operations under the strict policy."""
    desk.policy = Strict(People(frozenset({ALICE, BOB})))
    return desk.make_operations()
