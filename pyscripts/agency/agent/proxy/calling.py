"""One call on its way: reserved, passed on, metered, settled, and put on record.

However the call ends (the program goes, the provider breaks off, this process stops), it is settled
by what the meter knows; where that is less than all, the reservation counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs, web

from agency.agent.models.client import WireFormat
from agency.agent.models.faults import MalformedAnswerError, OversizedAnswerError, one_line
from agency.agent.models.sse import SseDecoder
from agency.agent.proxy.accounting.ledger import Ledger, LedgerError, Reservation
from agency.agent.proxy.accounting.metering import Meter
from agency.agent.proxy.accounting.pricing import NANOS_PER_USD, Amount, Budget, Spent
from agency.agent.proxy.config import ProxyConfig
from agency.agent.proxy.counters import Counters
from agency.agent.proxy.refusals import Refusal, error_event
from agency.agent.proxy.requests.planning import Plan
from agency.agent.proxy.requests.redacting import RequestRedactor
from agency.agent.proxy.upstream import (
    EVENTS,
    JSON,
    Frames,
    NotSentError,
    Reply,
    Upstream,
    nothing_done,
)
from agency.clock import Clock

_WRITE_S = 30.0

_log = logging.getLogger(__name__)


class _Gone(Exception):  # noqa: N818 - an end of a call, not a fault of ours
    """Program that no longer reads its answer."""


@dataclass(frozen=True, slots=True)
class Record:
    """A settled call as audit and metrics are told of it; it holds no text."""

    agent: str
    model: str
    provider: str
    outcome: str
    status: int
    amount: Amount
    reserved: Amount
    request_sha256: str
    duration_ms: int
    call: str


@dataclass(slots=True)
class _State:
    """Account of a call at its end; `free` if nothing was done that is paid for."""

    outcome: str = "cut"
    status: int = 0
    free: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Maker of calls; `record` is told of each that was settled."""

    config: ProxyConfig
    ledger: Ledger
    upstream: Upstream
    counters: Counters
    redactor: RequestRedactor
    clock: Clock
    record: Callable[[Record], None]

    async def call(
        self, request: web.Request, agent: str, wire: WireFormat, plan: Plan, budget: Budget
    ) -> web.StreamResponse:
        """Make a call, and answer the program's request by it.

        Raises:
            Refusal: the budget does not pay for it, or the provider gives no answer.
        """
        reservation = await self._reserved(agent, plan, budget)
        meter, state, begun = Meter(wire, reservation), _State(), self.clock.steady()
        body = plan.written(reservation.output_tokens)
        try:
            async with asyncio.timeout(self.config.answer_s) as limit:
                return await self._passed_on(request, plan, body, meter, state, limit)
        except TimeoutError:
            raise Refusal(504, "time", "the answer took too long") from None
        except NotSentError:
            state.free = True
            raise
        finally:
            amount = Amount() if state.free else meter.amount()
            digest = hashlib.sha256(body).hexdigest()
            ms = round((self.clock.steady() - begun) * 1000)
            told = Record(
                agent,
                plan.model,
                plan.provider_name,
                state.outcome,
                state.status,
                amount,
                reservation.amount,
                digest,
                ms,
                reservation.id,
            )
            # Also when this task is cancelled; the write goes on in the database's thread.
            await asyncio.shield(self._settled(reservation, told))

    async def _reserved(self, agent: str, plan: Plan, budget: Budget) -> Reservation:
        try:
            reservation = await self.ledger.reserve(plan.wish, budget)
        except LedgerError as error:
            _log.error("the ledger cannot be used", extra={"fields": {"reason": error.message}})
            raise Refusal(503, "ledger", "usage cannot be put on record: no call is made") from None
        if reservation is None:
            spent = await self.ledger.spent(agent)
            raise Refusal(
                402,
                "budget",
                f"the budget of {agent} does not pay for this call: {spent.day.tokens} of "
                f"{budget.day.tokens} tokens and {_usd(spent.day.nanos)} of "
                f"{_usd(budget.day.nanos)} USD of today are used or reserved"
                + _month(spent, budget),
            )
        return reservation

    async def _settled(self, reservation: Reservation, told: Record) -> None:
        try:
            await self.ledger.settle(reservation, told.amount)
        except LedgerError as error:
            fields = {"call": reservation.id, "reason": error.message}
            _log.error("a call was not settled: it counts whole", extra={"fields": fields})
        self.counters.call(told.agent, told.model, told.outcome, told.amount)
        self.record(told)

    async def _passed_on(
        self,
        request: web.Request,
        plan: Plan,
        body: bytes,
        meter: Meter,
        state: _State,
        limit: asyncio.Timeout,
    ) -> web.StreamResponse:
        async with self.upstream.asked(plan.provider_name, plan.provider, body) as reply:
            state.status = reply.status
            if reply.status != 200:
                state.outcome, state.free = "provider-error", nothing_done(reply.status)
                raise await self._refused(plan, reply)
            if reply.kind == EVENTS and plan.stream:
                limit.reschedule(None)  # once begun, an answer ends with an event that says why
                longest_s = self.config.answer_s
                return await _Stream(request, plan, reply, meter, state, longest_s).passed()
            if reply.kind != JSON or plan.stream:
                raise Refusal(502, "provider", "the provider's answer is of another kind")
            try:
                whole = await reply.body()
            except OversizedAnswerError as error:
                raise Refusal(502, "provider", error.message) from None
            meter.whole(whole)
            state.outcome = "done"
            return web.Response(body=whole, content_type=JSON, headers=reply.headers)

    async def _refused(self, plan: Plan, reply: Reply) -> Refusal:
        said = one_line(self.redactor.text(await reply.fault(plan.provider)))
        status = reply.status
        after = reply.headers.get(hdrs.RETRY_AFTER, "")
        wait = int(after) if after.isascii() and after.isdigit() and len(after) < 8 else None
        if status in (401, 402, 403) or 300 <= status < 400:
            # It is about the proxy's key or address, not about the program's.
            text = f"the provider {plan.provider_name} refuses the proxy (HTTP {status})"
            return Refusal(502, "provider", text)
        text = f"the provider {plan.provider_name} answers HTTP {status}: {said or 'no reason'}"
        reason = "rate" if status == 429 else "request" if status < 500 else "provider"
        return Refusal(status, reason, text, retry_after_s=wait)


@dataclass(slots=True)
class _Stream:
    """A stream from the provider to the program; each event leaves as soon as it is whole."""

    request: web.Request
    plan: Plan
    reply: Reply
    meter: Meter
    state: _State
    longest_s: float

    async def passed(self) -> web.StreamResponse:
        """Pass the stream on; the last event says why, if it ends before the answer does."""
        headers = {hdrs.CONTENT_TYPE: EVENTS, **self.reply.headers}
        response = web.StreamResponse(headers=headers)
        try:
            fault = await self._events(response)
            if self.meter.exceeded:
                self.state.outcome = "exceeded"
                fault = ("budget", "the answer is longer than what was reserved for it")
            elif fault is None and not self.meter.ended:
                fault = ("provider", "the provider ended the stream before the answer")
            if fault is not None:
                event = error_event(self.plan.provider.format, *fault)
                await self._to_program(response.write(event))
            else:
                self.state.outcome = "done"
            await self._to_program(response.write_eof())
        except _Gone:
            if self.state.outcome == "cut":
                self.state.outcome = "gone"
            self.request.protocol.force_close()
        return response

    async def _events(self, response: web.StreamResponse) -> tuple[str, str] | None:
        """Pass on events until the end, or until they exceed what is paid for; return the fault."""
        frames = Frames()
        await self._to_program(response.prepare(self.request))
        try:
            async with asyncio.timeout(self.longest_s):
                async for chunk in self.reply.chunks():
                    for frame in frames.feed(chunk):
                        await self._frame(response, frame)
                        if self.meter.exceeded:
                            return None
            if rest := frames.close():
                await self._frame(response, rest)
        except OversizedAnswerError as error:
            return "provider", error.message
        except TimeoutError:
            return "time", "the provider stopped in mid-answer, or took too long"
        except (aiohttp.ClientError, ConnectionError):
            return "provider", "the provider broke off in mid-answer"
        return None

    async def _frame(self, response: web.StreamResponse, frame: bytes) -> None:
        hidden = False
        try:
            for event in SseDecoder().feed(frame):
                found = self.meter.event(event)
                hidden = not self.plan.told_usage and _usage_alone(found)
        except (MalformedAnswerError, OversizedAnswerError):
            hidden = False  # the program judges what it is sent
        if not hidden:
            await self._to_program(response.write(frame))

    async def _to_program(self, writing: Awaitable[object]) -> None:
        """Wait until the program took what is written to it.

        Raises:
            _Gone: it did not.
        """
        try:
            async with asyncio.timeout(_WRITE_S) as limit:
                await writing
        except ConnectionError:
            raise _Gone from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise _Gone from None


def _usd(nanos: int) -> str:
    return f"{nanos / NANOS_PER_USD:.4f}"


def _month(spent: Spent, budget: Budget) -> str:
    if budget.month_nanos is None:
        return ""
    return f", {_usd(spent.month_nanos)} of {_usd(budget.month_nanos)} USD of the month"


def _usage_alone(found: dict[str, object] | None) -> bool:
    """Tell whether an event holds usage that the proxy asked for, and nothing else."""
    return (
        found is not None
        and found.get("object") == "chat.completion.chunk"
        and not found.get("choices")
        and isinstance(found.get("usage"), dict)
    )
