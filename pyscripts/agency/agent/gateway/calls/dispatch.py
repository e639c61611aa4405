"""The one way to a tool: every call, whoever makes it, goes through `Dispatcher.call`.

    judge ─▶ row "tool.decided" ─▶ [deny: refused] ─▶ [same call in doubt: told once]
      ─▶ [ask: approval, used up] ─▶ journal: begun ─▶ server ─▶ journal: ended
      ─▶ bounded, redacted, marked ─▶ row "tool.ended"

Without its row no call is judged to an end; without its line in the journal none is made. A caller
that goes away ends its wait for a person, but not a call that was begun.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agency.agent.gateway.calls.approvals import (
    Approvals,
    Outcome,
    Question,
    TooManyApprovalsError,
)
from agency.agent.gateway.calls.auditing import Auditor, NotRecordedError
from agency.agent.gateway.calls.journal import Begun, Ended, Journal
from agency.agent.gateway.calls.judging import (
    Offered,
    Policy,
    Verdict,
    arguments_digest,
    call_digest,
    judge,
    listed,
    shown_arguments,
)
from agency.agent.gateway.calls.results import Raw, Result, finish
from agency.agent.gateway.calls.tools import Tool
from agency.canonical import sha256_hex
from agency.clock import Clock, new_id
from agency.errors import AgencyError
from agency.gosuto import TOOL, Answer
from agency.protocols import ProblemCode
from agency.secrets import Redactor

MAX_CALLS = 32
MAX_DOUBTS = 256
_DRAIN_S = 3.0
_BEGIN_S = 10.0  # less than programs wait for a list
_TTL_S = 3600.0

_log = logging.getLogger(__name__)

Caller = Literal["program", "control"]


class ServerGoneError(AgencyError):
    """A server that ended or did not answer while it had a call: it may have done it, or not."""


class ServerAwayError(AgencyError):
    """A server that is not there; the call was not made."""


class Tools(Protocol):
    """The servers, as the dispatcher needs them."""

    def offered(self) -> Offered:
        """Return what can be called now."""
        ...

    async def settled(self, within_s: float) -> None:
        """Wait until each server was looked at once, or for so long."""
        ...

    def redactor(self) -> Redactor:
        """Return the redactor of every secret that is held, or that a server still has."""
        ...

    async def call(self, tool: Tool, args: Mapping[str, Any]) -> Raw:
        """Make a call.

        Raises:
            ServerAwayError: it was not made. ServerGoneError: nobody knows.
        """
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was asked for; `waits` is False for who does not wait for a person."""

    tool: str
    arguments: Mapping[str, Any]
    caller: Caller
    trace: str | None = None
    waits: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Answer without a result."""

    code: ProblemCode
    reason: str
    approval: str | None = None


@dataclass(slots=True)
class _Going:
    """A call on its way."""

    id: str
    call: Call
    digest: str
    begun_at: float
    made: bool = False


@dataclass(slots=True)
class Dispatcher:
    """Dispatcher of all calls of one agent; `policy` is None while none can be read."""

    tools: Tools
    journal: Journal
    approvals: Approvals
    auditor: Auditor
    clock: Clock
    make_id: Callable[[], str] = lambda: new_id("call")
    make_mark: Callable[[], str] = lambda: secrets.token_hex(8)
    policy: Policy | None = None
    _doubtful: dict[str, list[Begun]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Result | Refusal]] = field(default_factory=set)

    async def tell_left(self) -> None:
        """Put on record the calls that a predecessor left without an end, and remember them."""
        left = sorted(self.journal.left.calls.values(), key=lambda each: each.at)
        for old in left[:-MAX_DOUBTS]:
            self.journal.add(Ended(id=old.id))
        for begun in left[-MAX_DOUBTS:]:
            self._doubtful.setdefault(begun.digest, []).append(begun)
            if begun.told:
                continue
            _log.warning("a call was in flight when the gateway ended", extra=_fields(begun))
            self.journal.add(begun.model_copy(update={"told": True}))
            await self.auditor.after(
                "tool.ended", call=begun.id, tool=begun.tool, outcome="unknown", trace=begun.trace
            )

    def listed(self) -> tuple[Tool, ...]:
        """List the tools that the program may know of."""
        return listed(self.policy, self.tools.offered())

    async def offer(self) -> tuple[Tool, ...]:
        """List them for the program, which believes the list: servers that begin are waited for."""
        await self.tools.settled(_BEGIN_S)
        return self.listed()

    def set_policy(self, policy: Policy | None) -> None:
        """Decide by another policy from now on; calls that were begun go on."""
        self.policy = policy
        if policy is not None:
            self.approvals.keep_only(policy.sha256)

    async def call(self, call: Call) -> Result | Refusal:
        """Judge a call and make it, if it may be made."""
        if len(self._tasks) >= MAX_CALLS:
            return Refusal("full", f"{MAX_CALLS} calls are on their way already")
        bound = sha256_hex(
            f"{call.tool}\0{arguments_digest(call.arguments)}".encode(errors="replace")
        )
        going = _Going(self.make_id(), call, bound, self.clock.steady())
        task = asyncio.create_task(self._go(going), name=going.id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not going.made:
                task.cancel()
            raise

    async def close(self) -> None:
        """Give running calls a moment; what is then left stays without an end in the journal."""
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_S)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go(self, going: _Going) -> Result | Refusal:
        policy, call = self.policy, going.call
        verdict = judge(policy, self.tools.offered(), call.tool, call.arguments)
        try:
            await self._record_decision(going, policy, verdict)
            if verdict.answer is Answer.DENY or verdict.tool is None or policy is None:
                return Refusal("policy", _refusal(verdict))
            if (doubts := self._doubtful.pop(going.digest, None)) is not None:
                return await self._tell_doubt(going, doubts)
            approval = None
            if verdict.answer is Answer.ASK:
                asked = await self._ask(going, policy, verdict)
                if isinstance(asked, Refusal):
                    return asked
                approval = asked
            return await self._make(going, verdict.tool, approval)
        except NotRecordedError as error:
            return Refusal("unreachable", error.message)
        except OSError as error:
            _log.error("the journal of calls: %s", error.strerror)
            return Refusal("unreachable", "the call cannot be put into the journal; not made")

    async def _record_decision(
        self, going: _Going, policy: Policy | None, verdict: Verdict
    ) -> None:
        named = TOOL.match(going.call.tool) is not None
        await self.auditor.before(
            "tool.decided",
            call=going.id,
            tool=going.call.tool if named else None,
            # Whatever else was named was written by a model: its digest says enough.
            named=None if named else sha256_hex(going.call.tool.encode(errors="replace")),
            arguments=arguments_digest(going.call.arguments),
            decision=str(verdict.answer),
            rule=verdict.rule,
            why=verdict.why,
            policy=None if policy is None else policy.sha256,
            caller=going.call.caller,
            trace=going.call.trace,
        )

    async def _tell_doubt(self, going: _Going, doubts: list[Begun]) -> Refusal:
        """Answer the first repetition of calls whose outcome nobody knows; it is not made.

        All that were the same are told of by this one answer, and in doubt no more.
        """
        await self._end(going, "not-repeated")
        for doubt in doubts:
            self.journal.add(Ended(id=doubt.id))
        times = f", under way {len(doubts)} times," if len(doubts) > 1 else ""
        return Refusal(
            "outcome-unknown",
            f"the outcome of this same call ({doubts[0].id}){times} is unknown: the gateway ended "
            "while it ran. It was not made again. Look at what it did; call once more to make it "
            "anew",
        )

    async def _ask(self, going: _Going, policy: Policy, verdict: Verdict) -> str | Refusal:
        call = going.call
        digest = call_digest(policy, call.tool, call.arguments)
        shown = self.tools.redactor().redact(shown_arguments(call.arguments))
        rules = policy.document.approvals
        question = Question(
            "call", call.tool, digest, policy.sha256, verdict.rule, shown, call.trace
        )
        try:
            approval = self.approvals.ask(question, rules.ttl_seconds if rules else _TTL_S)
        except TooManyApprovalsError as error:
            await self._end(going, "not-asked")
            return Refusal("full", error.message)
        outcome: Outcome | None = self.approvals.outcome(approval)
        if outcome is None and not call.waits:
            await self._end(going, "asked", approval=approval)
            return Refusal("asked", "a person must decide first; then call again", approval)
        if outcome is None:
            outcome = await self.approvals.wait(approval)
        decided = self.approvals.find(approval)
        by = None if decided is None else decided.decided_by
        # The policy may have changed while a person thought: the approval is of the old one.
        if outcome == "approved" and self._still(policy, going):
            if self.approvals.use(approval, digest):
                await self.auditor.before(
                    "tool.approved", call=going.id, approval=approval, by=by, digest=digest
                )
                return approval
            outcome = "expired"
        elif outcome == "approved":
            outcome = "policy-changed"
        await self._end(going, outcome, approval=approval, by=by)
        return Refusal("policy", _UNAPPROVED[outcome], approval)

    def _still(self, policy: Policy, going: _Going) -> bool:
        now = judge(self.policy, self.tools.offered(), going.call.tool, going.call.arguments)
        same = self.policy is not None and self.policy.sha256 == policy.sha256
        return same and now.answer is Answer.ASK

    async def _make(self, going: _Going, tool: Tool, approval: str | None) -> Result | Refusal:
        call = going.call
        begun = Begun(
            id=going.id,
            tool=tool.full,
            digest=going.digest,
            at=self.clock.wall(),
            trace=call.trace,
            approval=approval,
        )
        self.journal.add(begun)
        going.made = True
        try:
            raw = await self.tools.call(tool, call.arguments)
        except ServerAwayError as error:
            self._ended(going)
            await self._end(going, "not-made")
            return Refusal("unreachable", error.message)
        except ServerGoneError as error:
            self._ended(going)
            await self._end(going, "unknown")
            return Refusal("outcome-unknown", f"{error.message}; it may have been made")
        self._ended(going)
        result = self._finish(tool, raw)
        await self._end(
            going, "failed" if result.failed else "done", cut=True if result.cut else None
        )
        return result

    def _ended(self, going: _Going) -> None:
        """Note the end; without the note the call counts as one in doubt at the next start."""
        try:
            self.journal.add(Ended(id=going.id))
        except OSError as error:
            _log.error("the end of a call is not in the journal: %s", error.strerror)

    def _finish(self, tool: Tool, raw: Raw) -> Result:
        result = finish(raw, tool.full, self.tools.redactor(), self.make_mark())
        if tool.output is None or raw.failed:
            return result
        lied = raw.structured is None or tool.output.fault(raw.structured)
        if not lied:
            return result
        lie = Raw((), {"error": "the result does not match the schema of this tool"}, failed=True)
        return finish(lie, tool.full, self.tools.redactor(), self.make_mark())

    async def _end(self, going: _Going, outcome: str, **more: object) -> None:
        await self.auditor.after(
            "tool.ended",
            call=going.id,
            tool=going.call.tool,
            outcome=outcome,
            duration_ms=round((self.clock.steady() - going.begun_at) * 1000),
            trace=going.call.trace,
            **more,
        )


_UNAPPROVED: Mapping[Outcome, str] = {
    "denied": "a person denied this call",
    "expired": "nobody approved this call in its time",
    "policy-changed": "the policy changed while this call waited for a person",
    "approved": "its approval was used already",
}


def _refusal(verdict: Verdict) -> str:
    by = f" (rule {verdict.rule})" if verdict.rule else ""
    return f"refused{by}: {verdict.reason}"


def _fields(begun: Begun) -> dict[str, Any]:
    return {"fields": {"call": begun.id, "tool": begun.tool, "trace": begun.trace}}
