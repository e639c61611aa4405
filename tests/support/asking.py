"""A control plane that asks people about calls of agents, over a real store.

The agents' side is the gateway's own register of approvals with its journal; what stands between
(ACP, an agent's process) is simulated, with its faults.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from desk import ALICE, BOB, ROOM, Desk
from front import Front
from gosutos import document
from sqlalchemy import text

from agency.agent.gateway.calls.approvals import Approvals, DecisionRefusedError, Question
from agency.agent.gateway.calls.journal import Journal
from agency.canonical import sha256_hex
from agency.control.acp_client import AcpRefusedError, AcpUnreachableError
from agency.control.ask import Ask
from agency.control.asking import reacting
from agency.control.asking.delivery import Delivery
from agency.control.asking.desk import AskDesk
from agency.control.asking.follower import Follower, Place
from agency.control.asking.recording import Recorder
from agency.control.asking.wording import prompt_id
from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.operations.approving.approvals import meant_by
from agency.control.operations.proposals import Calls
from agency.control.policy import Policy
from agency.control.rooms.speaking import Speaker
from agency.control.store import asks, gosuto
from agency.gosuto import canonical
from agency.protocols import ApprovalDecision, PendingApproval

TEAM = "!team:x.org"
TTL_S = 600
APPROVERS = [ALICE, BOB]


@dataclass
class Asker:
    """One agent: its gateway's approvals, and the answers that its process keeps by key."""

    name: str
    place: Path
    clock: Any
    approvers: list[str] = field(default_factory=lambda: list(APPROVERS))
    away: bool = False  # it runs, and does not answer
    deaf: bool = False  # it takes a decision, and its answer is lost
    stopped: bool = False
    hidden: set[str] = field(default_factory=set)  # asks that it does not list
    forged: tuple[PendingApproval, ...] = ()
    answers: dict[str, Any] = field(default_factory=dict)
    told: list[ApprovalDecision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numbers = itertools.count(1)
        self.open()

    def open(self) -> None:
        journal = Journal(self.place / f"{self.name}.jsonl")
        ids: Callable[[], str] = lambda: f"ask-{self.name}-{next(self.numbers)}"  # noqa: E731
        self.approvals = Approvals(journal, self.clock, make_id=ids)

    def crash(self) -> None:
        """Begin anew: the journal is left, the answers are lost."""
        self.approvals._journal.close()
        self.answers.clear()
        self.open()

    def ask(self, tool: str = "web/post", shown: str = '{"text": "hi"}', kind: Any = "call") -> str:
        digest = sha256_hex(f"{tool} {shown}".encode())
        question = Question(kind, tool, digest, "policy", "post", shown, "t-call")
        return self.approvals.ask(question, TTL_S)

    def state(self, number: str) -> str:
        return self.approvals.outcome(number) or "pending"


@dataclass
class Agents:
    """The agents as the control plane reaches them."""

    askers: dict[str, Asker]

    def names(self) -> list[str]:
        return sorted(self.askers)

    async def pending(self, agent: str, _trace: str) -> tuple[PendingApproval, ...] | None:
        asker = self.askers[agent]
        if asker.stopped:
            return None
        if asker.away:
            raise AcpUnreachableError("no answer within 3 s")
        listed = (*asker.approvals.waiting(), *asker.forged)
        return tuple(each for each in listed if each.id not in asker.hidden)

    async def decide(
        self, agent: str, _trace: str, number: str, decision: ApprovalDecision, key: str
    ) -> None:
        asker = self.askers[agent]
        if asker.away or asker.stopped:
            raise AcpUnreachableError("no answer within 3 s")
        if key not in asker.answers:
            asker.answers[key] = self._decided(asker, number, decision)
        if asker.deaf:
            raise AcpUnreachableError("the answer broke off")
        if asker.answers[key] is not None:
            raise asker.answers[key]

    def _decided(self, asker: Asker, number: str, decision: ApprovalDecision) -> Any:
        if decision.decided_by not in asker.approvers:
            return AcpRefusedError("not under approvals.approvers", status=403, code="policy")
        try:
            asker.approvals.decide(number, decision)
        except DecisionRefusedError as error:
            return AcpRefusedError(error.message, status=error.status, code=error.code)
        asker.told.append(decision)
        return None


class Asking(Front):
    """The room of an agency whose agents pm and dev ask."""

    def __init__(self, desk: Desk, policy: Policy, place: Path) -> None:
        self.agents = Agents({name: Asker(name, place, desk.clock) for name in ("pm", "dev")})
        self.room: Place | None = Place(ROOM, "this room")
        self.events = itertools.count(1)
        super().__init__(desk, policy)

    @property
    def pm(self) -> Asker:
        return self.agents.askers["pm"]

    def start(self, policy: Policy | None = None) -> None:
        """Start the control plane, again."""
        super().start(policy)
        desk = self.desk
        traces = (f"t-ask-{next(self.events)}" for _ in itertools.count())
        speaker = Speaker(
            desk.database, desk.clock, lambda: ROOM, "@agency:x.org", lambda: next(traces),
            desk.spoken.append, desk.max_outbox,
        )  # fmt: skip
        recorder = Recorder(speaker, lambda: self.operations.rules.policy, self._is_own)
        self.delivery = Delivery(self.agents, recorder)
        self.follower = Follower(self.agents, self.delivery, self.where, self.listen)
        services = Services(
            desk.clock,
            desk.database,
            None,  # type: ignore[arg-type]  # no handler here asks the agents' lifecycle
            GRAMMAR,
            desk.conditions,
            decisions=lambda: self.operations.decisions,
            safety=lambda: self.operations.safety,
            asking=AskDesk(self.delivery, Calls()),
        )
        for name, handle in build_handlers(services).items():
            if name.startswith(("approvals", "safe-mode")):
                desk.handlers[name] = handle
        desk.intake.resolve = lambda c, r: (
            meant_by(desk.policy, c, r) or reacting.meant_by(desk.policy, c, r)
        )

    async def restart(self) -> None:
        """Start again, with what the store has, as the service does."""
        self.start()
        await self.operations.safety.restore()
        await self.follower.restore()

    def _is_own(self, who: str) -> bool:
        return self.operations.rules.is_own(who)

    async def where(self, room_id: str) -> Place | None:
        return Place(room_id, "this room or the control room") if room_id else self.room

    def listen(self, rooms: frozenset[str]) -> None:
        self.operations.rules = replace(self.operations.rules, asking_rooms=rooms)

    async def give(self, agent: str = "pm", **approvals: Any) -> None:
        """Give an agent a new version of its Gosuto."""
        said = document(
            {}, metadata={"name": agent}, approvals={"approvers": APPROVERS, **approvals}
        )
        content = canonical(said)

        def add(connection: Any) -> None:
            newest = gosuto.newest(connection, agent)
            number = 1 if newest is None else newest.number + 1
            gosuto.add(
                connection,
                gosuto.Version(
                    agent, number, sha256_hex(content), ALICE, 0, "t", "set", content.decode()
                ),
            )

        await self.desk.database.write(add)

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.follower.look()

    async def sent(self) -> None:
        """Have all that is queued sent: each message becomes an event."""
        statement = text(
            "UPDATE outbox SET event_id = '$sent' || sequence, state = 'sent' "
            "WHERE event_id IS NULL"
        )
        await self.desk.database.write(lambda c: c.execute(statement))

    async def event_of(self, ask: Ask) -> str:
        statement = text("SELECT event_id FROM outbox WHERE txn_id = :txn")
        found = await self.desk.database.read(
            lambda c: c.scalar(statement, {"txn": prompt_id(ask)})
        )
        return str(found)

    async def asks(self) -> list[Ask]:
        statement = text("SELECT id FROM asks ORDER BY asked_ts, id")
        ids = await self.desk.database.read(lambda c: c.scalars(statement).all())
        found = [await self.desk.database.read(lambda c, i=i: asks.find(c, i)) for i in ids]
        return [each for each in found if each is not None]

    async def react(self, ask: Ask, by: str = ALICE, key: str = "✅", **changes: Any) -> None:
        """React to the prompt of an ask, as it was sent."""
        to = await self.event_of(ask)
        relation = {"rel_type": "m.annotation", "event_id": to, "key": key}
        content = {"m.relates_to": relation}
        event = {"type": "m.reaction", "room_id": ask.room_id, "content": content, **changes}
        await self.desk.take(self.desk.event("", **{"sender": by, **event}))
        await self.desk.finish(self.operations)

    async def rows(self) -> list[tuple[str, str, str]]:
        """Audit rows about approvals: actor, action, outcome."""
        return [row for row in await self.desk.outcomes() if row[1].startswith("approval ")]
