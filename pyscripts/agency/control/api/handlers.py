"""Handlers of the HTTP interface, one a route; `routes` has what each takes and gives."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from agency import __version__
from agency.clock import iso
from agency.control.api import events, models, openapi, views
from agency.control.api.access import Access
from agency.control.api.models import Model
from agency.control.api.problems import RefusedError
from agency.control.api.routes import LINES
from agency.control.commands.status import Glance
from agency.control.config import AgentEntry
from agency.control.entrance.attaching import TAKING, VALUED, Attached, check_takes, named
from agency.control.entrance.documents import submit_with_document
from agency.control.entrance.enter import Answer, Asked, Entrance, Refusal
from agency.control.entrance.words import completed, text_of_argv
from agency.control.operations import OriginKind
from agency.control.operations.admitting.entries import sentence
from agency.control.policy import Role
from agency.control.store import agents as inventory
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome, audit_detail
from agency.control.store.tokens import Token
from agency.errors import AgencyError
from agency.secrets import SecretValue
from agency.settings import explain
from agency.web import Broadcast, lift_answer_limit, send_events

M = TypeVar("M", bound=Model)
_log = logging.getLogger(__name__)

_ROWS = 500  # of an export that are read at a time
_WRITE_S = 10.0
_STATUSES: Mapping[Refusal, int] = {
    Refusal.NOT_UNDERSTOOD: 422,
    Refusal.TOO_NARROW: 403,
    Refusal.ID_USED: 409,
    Refusal.TOO_MANY: 503,
    Refusal.TOO_OLD: 422,
    Refusal.FAILED: 503,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request: whose token it carries, None where none is asked for, and its query."""

    request: web.Request
    token: Token | None
    query: Model

    @property
    def mine(self) -> Token:
        """The token of a request that needs one."""
        assert self.token is not None  # the server has checked it
        return self.token


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers, and the parts of the control plane that they use."""

    entrance: Entrance
    access: Access
    agents: Mapping[str, AgentEntry]
    glance: Callable[[], Awaitable[Glance]]

    def by_name(self) -> Mapping[str, Handler]:
        """Return each handler by the name of its route."""
        return {
            "health": self._health,
            "openapi": self._openapi,
            "status": self._status,
            "who": self._who,
            "propose": self._propose,
            "operation": self._operation,
            "events": self._events,
            "agents": self._agents,
            "approvals": self._approvals,
            "audit": self._audit,
            "export": self._export,
        }

    async def _health(self, _call: Call) -> web.StreamResponse:
        return answer(models.Health(status="ok", version=__version__))

    async def _openapi(self, _call: Call) -> web.StreamResponse:
        return web.Response(text=openapi.text(), content_type="application/json")

    async def _status(self, _call: Call) -> web.StreamResponse:
        return answer(views.status(await self.glance()))

    async def _who(self, call: Call) -> web.StreamResponse:
        token = call.mine
        return answer(
            models.Who(
                person=token.person,
                role=token.role,
                token=token.id,
                expires=iso(token.expires_ts / 1000),
            )
        )

    async def _propose(self, call: Call) -> web.StreamResponse:
        asked = await _read_body(call.request, models.OperationRequest)
        token = call.mine
        text = asked.command
        written = completed(text) if isinstance(text, str) else text_of_argv(text)
        now_ms = self.entrance.clock.now_ms()
        try:
            attached = _attached(written, asked)
            made = await submit_with_document(
                self.entrance,
                Asked(
                    OriginKind.HTTP,
                    f"{token.person}/{asked.key}",  # no person can take another's keys
                    token.person,
                    attached.text,
                    now_ms if asked.sent_ts is None else asked.sent_ts,
                    value=None
                    if asked.value is None
                    else SecretValue(asked.value.get_secret_value()),
                    document=attached.document,
                    role=Role(token.role),
                ),
            )
        except AgencyError as error:
            raise RefusedError(422, sentence(error), code="not-taken") from None
        if isinstance(made, Answer):
            raise _refused(made)
        shown = await self._ended_within(made.id, asked.wait_s)
        response = answer(shown, 200 if shown.final else 202)
        response.headers["Location"] = f"/api/v1/operations/{made.id}"
        return response

    async def _ended_within(self, operation_id: str, wait_s: float) -> models.Operation:
        """Return an operation once it has ended, or as it is when the time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        with self.entrance.operations.following(operation_id) as woken:
            while True:
                woken.clear()
                shown = await self.find(operation_id)
                left = end - loop.time()
                if shown.final or left <= 0:
                    return shown
                try:
                    async with asyncio.timeout(min(left, 1.0)):
                        await woken.wait()
                except TimeoutError:
                    pass

    async def _operation(self, call: Call) -> web.StreamResponse:
        return answer(await self.find(call.request.match_info["id"]))

    async def find(self, operation_id: str) -> models.Operation:
        """Return an operation as it is shown.

        Raises:
            RefusedError: there is none of this id.
        """
        operations = self.entrance.operations
        policy = operations.rules.policy
        shown = await operations.database.read(lambda c: views.find(c, operation_id, policy))
        if shown is None:
            raise RefusedError(404, f"there is no operation {operation_id}")
        unkept = operations.unkept.find(operation_id)
        if unkept is None or shown.reply is None:
            return shown
        reply = models.Reply(ok=unkept.ok, text=unkept.text, block=unkept.block)
        return shown.model_copy(update={"reply": reply})

    async def _events(self, call: Call) -> web.StreamResponse:
        operation_id = call.request.match_info["id"]
        await self.find(operation_id)
        seen = events.Seen.of(call.request.headers.get("Last-Event-ID", ""))
        broadcast = Broadcast(max_listeners=1)
        operations = self.entrance.operations

        async def publish() -> None:
            try:
                await events.follow(lambda: self.find(operation_id), woken, seen, broadcast)
            except (SQLAlchemyError, RefusedError) as error:  # the client asks again
                _log.warning("a stream of events ended early: %s", type(error).__name__)

        with self.access.stream(call.mine), operations.following(operation_id) as woken:
            publishing = asyncio.create_task(publish())
            try:
                return await send_events(call.request, broadcast)
            finally:
                publishing.cancel()
                await asyncio.gather(publishing, return_exceptions=True)

    async def _agents(self, call: Call) -> web.StreamResponse:
        query = call.query
        assert isinstance(query, models.NamePage)
        found = await self.entrance.operations.database.read(inventory.records)
        records = {each.name: each for each in found}
        return answer(views.agents(self.agents, records, query))

    async def _approvals(self, call: Call) -> web.StreamResponse:
        query = call.query
        assert isinstance(query, models.NamePage)
        operations = self.entrance.operations
        policy = operations.rules.policy
        waiting = sorted(operations.decisions.waiting, key=lambda each: each.id)
        left = [each for each in waiting if each.id > query.after]
        items = await operations.database.read(
            lambda c: [views.shown(c, each, policy) for each in left[: query.limit]]
        )
        more = len(left) > query.limit
        return answer(models.OperationPage(items=items, next=items[-1].id if more else None))

    async def _audit(self, call: Call) -> web.StreamResponse:
        query = call.query
        assert isinstance(query, models.RowPage)
        database = self.entrance.operations.database
        rows = await database.read(lambda c: audit.after(c, query.after, query.limit + 1))
        items = [views.audit_row(row) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return answer(models.AuditPage(items=items, next=items[-1].sequence if more else None))

    async def _export(self, call: Call) -> web.StreamResponse:
        query = call.query
        assert isinstance(query, models.RowsAfter)
        operations, person = self.entrance.operations, call.mine.person
        detail = audit_detail(cause="http", after=query.after, token=call.mine.id)
        entry = AuditEntry(
            self.entrance.new_trace(), person, "audit export", "", Outcome.DONE, detail
        )
        database, at = operations.database, query.after
        end = await database.write(lambda c: audit.append(c, self.entrance.clock, entry))
        with self.access.stream(call.mine):
            response = web.StreamResponse(
                headers={"Content-Type": LINES, "Cache-Control": "no-store"}
            )
            lift_answer_limit()
            await response.prepare(call.request)
            while at < end.sequence:
                most = min(_ROWS, end.sequence - at)
                rows = await database.read(partial(audit.after, sequence=at, most=most))
                if not rows:
                    break
                at = rows[-1].sequence
                lines = [json.dumps(row.as_dict(), ensure_ascii=False) for row in rows]
                async with asyncio.timeout(_WRITE_S):
                    await response.write(("\n".join(lines) + "\n").encode())
            await response.write_eof()
            return response


def answer(model: Model, status: int = 200) -> web.Response:
    """Make the response that holds a model."""
    text = json.dumps(model.model_dump(mode="json"), ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def _attached(text: str, asked: models.OperationRequest) -> Attached:
    """Check that what goes with a command belongs there, and name its document in it.

    Raises:
        AgencyError: it does not belong there, or the document is invalid.
    """
    if asked.value is not None:
        check_takes(text, VALUED, "value")
    if not asked.document:
        return Attached(text)
    check_takes(text, TAKING, "document")
    return named(text, asked.document.encode(errors="replace"))


async def _read_body(request: web.Request, model: type[M]) -> M:
    """Read a body of JSON.

    Raises:
        RefusedError: it is none, or not what the model says.
    """
    if request.content_type != "application/json":
        raise RefusedError(415, "the body must be application/json")
    try:
        told = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    try:
        return model.model_validate(told, strict=True)
    except ValidationError as error:
        raise RefusedError(400, explain(error)) from None


def _refused(made: Answer) -> RefusedError:
    refusal = made.refusal or Refusal.FAILED
    status = _STATUSES[refusal]
    return RefusedError(
        status,
        made.reply.text,
        code=str(refusal),
        trace=made.trace,
        where=made.reply.block,
        retry_after_s=5 if status == 503 else None,
    )
