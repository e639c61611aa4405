"""Endpoints of ACP version 1, served by one agent.

    request ─▶ authorise ─▶ body within limits ─▶ message (pydantic) ─▶ once by its key ─▶ handler

The table of endpoints is in `agency.protocols`; here each row gets its handler.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from agency import __version__
from agency.agent.answers import Answer, KeyReusedError, TooManyChangesError, change_digest
from agency.agent.calling import ApiCall, Refused, as_body, trace_of
from agency.agent.held_secrets import LeaseFailedError
from agency.agent.state import AgentState
from agency.agent.tool_calls import call_tool, decide_approval, list_approvals
from agency.canonical import once_each, sha256_hex
from agency.clock import iso
from agency.protocols import (
    ENDPOINTS,
    IDEMPOTENCY_HEADER,
    AcpEndpoint,
    AgentConfig,
    AgentStatus,
    CancelOrder,
    ConfigApplied,
    ConfigDocument,
    Health,
    LeaseOffer,
    RestartAccepted,
    RestartOrder,
    SecretsHeld,
    TasksCancelled,
    is_id,
    is_idempotency_key,
)
from agency.web import send_events

_JSON = "application/json"


class Api:
    """Handlers of version 1, by the operation's id."""

    def __init__(self, config: AgentConfig, state: AgentState) -> None:
        self._config = config
        self._state = state
        self._started_wall, self._started_steady = state.clock.wall(), state.clock.steady()
        self._handlers: Mapping[str, Callable[[ApiCall], Awaitable[BaseModel]]] = {
            "health": self._health,
            "status": self._status,
            "applyConfig": self._apply,
            "leaseSecrets": self._lease,
            "restart": self._restart,
            "cancelTasks": self._cancel,
            "listApprovals": lambda call: list_approvals(state, call),
            "decideApproval": lambda call: decide_approval(state, call),
            "callTool": lambda call: call_tool(state, call),
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Serve every endpoint of the table, and no HEAD.

        Raises:
            KeyError: an endpoint has no handler.
        """
        for each in ENDPOINTS:
            router.add_route(each.method, each.path, self._handler(each))

    def _handler(self, endpoint: AcpEndpoint) -> Handler:
        if endpoint.answer is None:
            return self._events
        handler = self._handlers[endpoint.name]
        return _look(endpoint, handler) if endpoint.request is None else self._change(endpoint)

    def _change(self, endpoint: AcpEndpoint) -> Handler:
        handler = self._handlers[endpoint.name]

        async def change(request: web.Request) -> web.Response:
            try:
                key, body = _key_of(request), await request.read()
                call = ApiCall(_message(endpoint, request, body), trace_of(request), _path(request))
                digest = change_digest(request.method, request.raw_path, body)
                answer = await self._state.answers.once(
                    key, digest, lambda: _answer(endpoint, handler, call)
                )
            except Refused as refused:
                answer = refused.answer
            except KeyReusedError:
                text = "this idempotency key was used for another path or body"
                answer = Refused(422, text, "key-reused").answer
            except TooManyChangesError:
                answer = Refused(503, "too many changes at once", "full").answer
            return _response(answer)

        return change

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await send_events(request, self._state.events)

    async def _health(self, _: ApiCall) -> BaseModel:
        return Health(status="ok", agent=self._config.name)

    async def _status(self, _: ApiCall) -> BaseModel:
        state, config = self._state, self._config
        return AgentStatus(
            agent=config.name,
            role=config.role,
            version=__version__,
            pid=os.getpid(),
            incarnation=state.incarnation,
            project=config.project,
            started_at=iso(self._started_wall),
            uptime_s=round(state.clock.steady() - self._started_steady, 3),
            trace=config.trace,
            config_sha256=state.config_sha256,
            secrets=state.secrets.held(),
            mcp_servers=() if state.gateway is None else state.gateway.servers(),
            gateway=None if state.gateway is None else state.gateway.health(),
            tasks=state.tasks.running(),
        )

    async def _apply(self, call: ApiCall) -> BaseModel:
        message, state = call.message, self._state
        assert isinstance(message, ConfigDocument)
        content = message.content
        if (sha256 := sha256_hex(content)) != message.sha256:
            raise Refused(
                422, f"the bytes have the hash {sha256}, not the one given", "hash-differs"
            )
        changed = content != state.config
        if changed:
            try:
                state.check_config(content)
            except ValueError as error:
                raise Refused(422, str(error)[:500], "config-refused") from error
            state.config = content
            state.publish("config.applied", trace=call.trace)
            if state.gateway is not None:
                await state.gateway.sync()
        return ConfigApplied(agent=self._config.name, sha256=sha256, changed=changed)

    async def _lease(self, call: ApiCall) -> BaseModel:
        message, state = call.message, self._state
        assert isinstance(message, LeaseOffer)
        if not state.secrets.can_redeem:
            return await self._not_yet(call)
        try:
            held = await state.secrets.take(message)
        except LeaseFailedError as error:
            raise Refused(502, error.message, "lease-failed", error.failed) from error
        state.publish("secrets.held", trace=call.trace)
        if state.gateway is not None:
            await state.gateway.sync()
        return SecretsHeld(agent=self._config.name, secrets=held)

    async def _restart(self, call: ApiCall) -> BaseModel:
        assert isinstance(call.message, RestartOrder)
        self._state.publish("restart.asked", trace=call.trace)
        self._state.restart.set()
        return RestartAccepted(agent=self._config.name, incarnation=self._state.incarnation)

    async def _cancel(self, call: ApiCall) -> BaseModel:
        message, tasks = call.message, self._state.tasks
        assert isinstance(message, CancelOrder)
        if message.id is not None:
            found = tasks.find(message.id)
            if found is None:
                raise Refused(404, "no task of this id", "unknown")
            if found.state not in ("running", "cancelling"):
                raise Refused(409, f"this task has ended: {found.state}", "ended")
        return TasksCancelled(agent=self._config.name, tasks=await tasks.cancel(message.id))

    async def _not_yet(self, _: ApiCall) -> BaseModel:
        raise Refused(501, "nothing stands behind this endpoint yet", "not-implemented")


def _look(endpoint: AcpEndpoint, handler: Callable[[ApiCall], Awaitable[BaseModel]]) -> Handler:
    async def look(request: web.Request) -> web.Response:
        try:
            call = ApiCall(None, trace_of(request), _path(request))
        except Refused as refused:
            return _response(refused.answer)
        return _response(await _answer(endpoint, handler, call))

    return look


async def _answer(
    endpoint: AcpEndpoint, handler: Callable[[ApiCall], Awaitable[BaseModel]], call: ApiCall
) -> Answer:
    try:
        return Answer(endpoint.status, as_body(await handler(call)))
    except Refused as refused:
        return refused.answer


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, content_type=_JSON)


def _path(request: web.Request) -> Mapping[str, str]:
    """Return the parts of the path; what cannot be an id is the id of nothing."""
    parts = dict(request.match_info)
    if not all(is_id(each) for each in parts.values()):
        raise Refused(404, "nothing has this id", "unknown")
    return parts


def _key_of(request: web.Request) -> str:
    given = request.headers.getall(IDEMPOTENCY_HEADER, [])
    if len(given) != 1 or not is_idempotency_key(given[0]):
        raise Refused(
            400,
            f"one header {IDEMPOTENCY_HEADER} is needed: 8 to 64 letters, digits, dots or dashes",
            "key-missing",
        )
    return given[0]


def _message(endpoint: AcpEndpoint, request: web.Request, body: bytes) -> BaseModel:
    """Read the message; a refusal names the field and the fault, never what was sent."""
    assert endpoint.request is not None
    if request.content_type != _JSON or hdrs.CONTENT_ENCODING in request.headers:
        raise Refused(415, f"the body must be {_JSON}, not compressed")
    try:
        return endpoint.request.model_validate_json(_once(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:200]
        raise Refused(422, f"{field}: {first['type']}" if field else first["type"]) from None
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON, or has a key twice") from None


def _once(body: bytes) -> bytes:
    """Return the body, if it is JSON in which no key comes twice."""
    json.loads(body, object_pairs_hook=once_each)
    return body
