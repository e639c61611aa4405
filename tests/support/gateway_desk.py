"""What the gateway's unit tests share: policies, tools without a server, an audit log."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agency.agent.gateway.calls.approvals import Approvals
from agency.agent.gateway.calls.auditing import Auditor
from agency.agent.gateway.calls.dispatch import Call, Dispatcher
from agency.agent.gateway.calls.journal import Journal
from agency.agent.gateway.calls.judging import Offered, Policy
from agency.agent.gateway.calls.results import Block, Raw
from agency.agent.gateway.calls.schemas import Checker
from agency.agent.gateway.calls.tools import Tool
from agency.clock import Clock
from agency.errors import AgencyError
from agency.gosuto import read_document, sha256
from agency.protocols import (
    ApprovalDecision,
    AuditUnreachableError,
    PendingApproval,
    Receipt,
)
from agency.secrets import Redactor, SecretValue

ALICE = "@alice:agency.example"
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "url": {"type": "string"}},
    "additionalProperties": False,
}


def policy(rules: Mapping[str, object], ttl_s: int = 60) -> Policy:
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "approvals": {"approvers": [ALICE], "ttlSeconds": ttl_s},
        "mcpServers": {"web": {"command": ["web"]}, "files": {"command": ["files"]}},
        "capabilities": {
            name: {"tool": each[0], "answer": each[1], **(each[2] if len(each) > 2 else {})}
            for name, each in rules.items()
        },
    }
    document = read_document("test", json.dumps(told).encode())
    return Policy(document, sha256(document))


def tool(name: str, schema: Mapping[str, Any] = TEXT, output: Any = None) -> Tool:
    server, _, own = name.partition("/")
    checker = None if output is None else Checker(output)
    return Tool(server, own, "", schema, Checker(schema), checker)


@dataclass
class FakeTools:
    """Tools that answer with their arguments, and count."""

    tools: dict[str, Tool]
    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Callable[[], Any] | None = None
    cut_off: frozenset[str] = frozenset()
    secrets: tuple[SecretValue, ...] = ()
    waited_s: list[float] = field(default_factory=list)

    async def settled(self, within_s: float) -> None:
        self.waited_s.append(within_s)

    def offered(self) -> Offered:
        return Offered(self.tools, self.cut_off)

    def redactor(self) -> Redactor:
        return Redactor(self.secrets)

    async def call(self, called: Tool, args: Mapping[str, Any]) -> Raw:
        self.made.append((called.full, dict(args)))
        if self.answer is not None:
            found = self.answer()
            return await found if hasattr(found, "__await__") else found
        return Raw((Block("text", json.dumps(dict(args))),), None, failed=False)


@dataclass
class FakeLog:
    """An audit log that keeps rows, and fails while `away`."""

    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    away: AgencyError | None = None

    async def record(self, event: str, detail: dict[str, Any]) -> Receipt:
        if self.away is not None:
            raise self.away
        self.rows.append((event, detail))
        return Receipt(len(self.rows), "")

    async def close(self) -> None:
        pass

    def leave(self) -> None:
        self.away = AuditUnreachableError("no answer in time")

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.rows]

    @property
    def last(self) -> dict[str, Any]:
        return self.rows[-1][1]


@dataclass
class Times:
    """A clock that the test moves."""

    now: float = 1_800_000_000.0
    went: float = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.went)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.went += seconds


@dataclass
class Desk:
    """A dispatcher and all that it writes to."""

    place: Path
    tools: FakeTools
    log: FakeLog = field(default_factory=FakeLog)
    times: Times = field(default_factory=Times)
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew with what a predecessor left."""
        clock = self.times.clock()
        journal = Journal(self.place / "calls.jsonl")
        self.dispatcher = Dispatcher(
            self.tools,
            journal,
            Approvals(journal, clock),
            Auditor(self.log, pause_s=0),
            clock,
            make_mark=lambda: "MARK",
        )

    @property
    def approvals(self) -> Approvals:
        return self.dispatcher.approvals

    async def call(self, name: str = "web/echo", /, waits: bool = True, **args: Any) -> Any:
        return await self.dispatcher.call(Call(name, args, "program", "t-1", waits))


async def until(wanted: Callable[[], object]) -> None:
    """Wait until something holds, for 5 s at most."""
    async with asyncio.timeout(5):
        while not wanted():  # noqa: ASYNC110 - of many kinds
            await asyncio.sleep(0.001)


async def waiting(desk: Desk) -> PendingApproval:
    """Wait for the one approval that waits."""
    await until(desk.approvals.waiting)
    (found,) = desk.approvals.waiting()
    return found


def decision(digest: str, word: str = "approve") -> ApprovalDecision:
    return ApprovalDecision.model_validate(
        {"decision": word, "digest": digest, "decided_by": ALICE}
    )
