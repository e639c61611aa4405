"""The conversation that proves the control room works, held as people would hold it.

An operator starts agents, asks for their status and stops them; somebody who is no operator is
refused; a transaction delivered again changes nothing. `secret`, `approval` and `respawn` beside
this module add to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agency.clock import Clock
from agency.matrix import Person, client_path
from agency.protocols import Reply
from agency.spinup.record import Evidence, Recorder
from agency.spinup.scenario.accounts import ConversationError

PROJECT = "new-app"


@dataclass(frozen=True, slots=True)
class Witness:
    """Observations that the scenario may make beside the chat: store, agents, transactions."""

    audit_count: Callable[[], Awaitable[int]]
    audit_outcome: Callable[[str], Awaitable[str | None]]
    deliver: Callable[[str, list[dict[str, Any]]], Awaitable[int]]
    agent_pid: Callable[[str], Awaitable[int | None]]
    observe: Callable[[str, Evidence], Awaitable[Evidence]]
    kill: Callable[[str, int], Awaitable[Evidence]]
    session: aiohttp.ClientSession
    control_url: str
    clock: Clock
    begun: int  # rows that the audit log had before

    async def audit_rows(self, *targets: str) -> list[Evidence]:
        """Read the rows about these targets since the conversation began."""
        told = {"after": self.begun, "targets": targets}
        rows: list[Evidence] = (await self.observe("audit.rows", told))["rows"]
        return rows


@dataclass(slots=True)
class Conversation:
    """One scenario under way."""

    recorder: Recorder
    operator: Person
    outsider: Person
    approvers: tuple[Person, ...]  # as many as must approve what the operator asks for
    room: str
    agents: tuple[str, ...]
    witness: Witness
    new_txn: Callable[[], str]
    commands: list[Evidence] = field(default_factory=list)

    async def ask(
        self,
        name: str,
        text: str,
        *,
        ok: bool,
        contains: str = "",
        who: Person | None = None,
        hide: Callable[[str], str] = str,
    ) -> Reply:
        """Say something and put it on record with the reply, as `heard` does."""
        event = await self.say(text, who)
        return await self.heard(name, text, event, ok=ok, contains=contains, who=who, hide=hide)

    async def say(self, text: str, who: Person | None = None) -> str:
        """Say something, as the operator or somebody else; return the event id."""
        return await (who or self.operator).say(self.room, text, self.new_txn())

    async def _say_all(self, texts: Iterable[str]) -> list[str]:
        """Say several things at once, as the operator; return the event ids."""
        return await asyncio.gather(*map(self.say, texts))

    async def heard(
        self,
        name: str,
        text: str,
        event: str,
        *,
        ok: bool,
        contains: str = "",
        who: Person | None = None,
        hide: Callable[[str], str] = str,
    ) -> Reply:
        """Wait for the reply to what was said, and put both on record; `hide` what is not for it.

        Raises:
            ConversationError: the reply is not as expected.
        """
        person = who or self.operator
        reply = await person.wait_for_reply(event, self.room)
        matched = reply.ok is ok and contains in reply.body
        observed = {
            "said": text,
            "eventId": reply.command,
            "replyId": reply.event_id,
            "ok": reply.ok,
            "expectedOk": ok,
            "matched": matched,
            "trace": reply.trace,
            "reply": hide(reply.body)[:500],
        }
        wanted = f"ok={ok}" + (f", reply holds {contains!r}" if contains else "")
        self.recorder.heard(
            name,
            said=text,
            by=person.user_id,
            expected=wanted,
            observed=observed,
            passed=matched,
        )
        if person is self.operator:
            self.commands.append(observed)
        if not matched:
            one_line = " ".join(hide(reply.body).split())[:300]
            raise ConversationError(f"expected {wanted}, got ok={reply.ok}: {one_line}", where=text)
        return reply

    async def latest_ts(self) -> int:
        """Return when the operator spoke last, in milliseconds by the homeserver's clock."""
        return await self._ts_of(-1)

    async def first_ts(self) -> int:
        """Return when the operator spoke first, in milliseconds by the homeserver's clock."""
        return await self._ts_of(0)

    async def _ts_of(self, index: int) -> int:
        path = client_path("rooms", self.room, "event", self.commands[index]["eventId"])
        return int((await self.operator.request("GET", path))["origin_server_ts"])

    async def start_agents(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Start every agent at once, the first by the short form; see the project in its status.

        `meanwhile` is done while they start.
        """
        first, *others = self.agents
        await self.ask("ping", "!agency ping", ok=True)
        said = [f'!start-agent {first} --project="{PROJECT}"']
        said += [f"!agency agents start {name} --project={PROJECT}" for name in others]
        events, _ = await asyncio.gather(self._say_all(said), meanwhile())
        for text, event in zip(said, events, strict=True):
            await self.heard("start", text, event, ok=True)
        await self.ask("status", f"!agency agents status {first}", ok=True, contains=PROJECT)
        await self.ask("mistake", f"!start-agentx {first}", ok=False)

    async def refuse_outsider(self) -> Evidence:
        """Let somebody who is no operator try to stop an agent."""
        first = self.agents[0]
        before = await self.witness.agent_pid(first)
        text = f"!agency agents stop {first}"
        reply = await self.ask("refused", text, ok=False, who=self.outsider)
        return {
            "sender": self.outsider.user_id,
            "eventId": reply.command,
            "replyId": reply.event_id,
            "ok": reply.ok,
            "executed": await self.witness.agent_pid(first) != before,
            "auditOutcome": await self.witness.audit_outcome(reply.trace),
        }

    @property
    def _restart(self) -> str:
        return f"!agency agents restart {self.agents[0]}"

    async def begin_restart(self) -> str:
        """Command the restart that `replay` waits for; return its event id."""
        return await self.say(self._restart)

    async def replay(self, restart: str) -> Evidence:
        """Deliver an executed command again, in a new transaction and in one that was used.

        Nothing else that leaves an audit row may be under way.
        """
        first = self.agents[0]
        reply = await self.heard("restart", self._restart, restart, ok=True)
        path = client_path("rooms", self.room, "event", reply.command)
        event = await self.operator.request("GET", path)
        pid, count = await self.witness.agent_pid(first), await self.witness.audit_count()
        replies = self.operator.replies_to(reply.command)
        txn = self.new_txn()
        statuses = [await self.witness.deliver(txn, [event]) for _ in range(2)]
        # An answered ping after the replay shows that the replayed event has been dealt with.
        ping = await self.ask("ping", "!agency ping", ok=True)
        await self.operator.sync()
        audited_for_ping = 1
        evidence = {
            "eventId": reply.command,
            "transaction": txn,
            "transactionStatuses": statuses,
            "repliesBefore": replies,
            "repliesAfter": self.operator.replies_to(reply.command),
            "auditCountBefore": count,
            "auditCountAfter": await self.witness.audit_count() - audited_for_ping,
            "pidBefore": pid,
            "pidAfter": await self.witness.agent_pid(first),
        }
        same = all(
            evidence[f"{key}Before"] == evidence[f"{key}After"]
            for key in ("replies", "auditCount", "pid")
        )
        self.recorder.heard(
            "replay",
            said=f"transaction {txn} with the event of the restart, twice",
            by="homeserver",
            expected="acknowledged, and nothing runs again",
            observed={**evidence, "pingTrace": ping.trace},
            passed=same and set(statuses) == {200},
        )
        return evidence

    async def stop_agents(self) -> None:
        """Stop every agent at once, the first by the short form."""
        first, *others = self.agents
        said = [f"!stop-agent {first}", *(f"!agency agents stop {name}" for name in others)]
        events = await self._say_all(said)
        for text, event in zip(said, events, strict=True):
            await self.heard("stop", text, event, ok=True)
        await self.ask("list", "!agency agents list", ok=True, contains="stopped")

    def command_evidence(self) -> Evidence:
        """Everything the operator said, for the probe `scenario.commands`."""
        return {"project": PROJECT, "commands": self.commands}
