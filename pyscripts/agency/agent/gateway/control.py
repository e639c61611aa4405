"""Control interface of a gateway, for the agent's ACP process: HTTP on a Unix socket.

The caller is known twice: by its user, as the kernel tells it, and by a token that the program does
not have. So a program that may call tools cannot approve its own calls.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from agency.agent.gateway.calls.approvals import DecisionRefusedError
from agency.agent.gateway.calls.auditing import NotRecordedError
from agency.agent.gateway.calls.dispatch import Call, Refusal
from agency.agent.gateway.core import Gateway
from agency.canonical import sha256_hex
from agency.errors import AgencyError
from agency.protocols import (
    MAX_GATEWAY_BODY,
    TRACE_HEADER,
    ApprovalDecided,
    ApprovalDecision,
    ConfigDocument,
    GatewaySecrets,
    PendingApprovals,
    Problem,
    ProblemCode,
    ServerAcceptance,
    ToolCall,
    ToolResult,
    is_id,
    is_trace,
)
from agency.secrets import SecretValue
from agency.web import Limits, carries_bearer, make_app, peer_uid

LIMITS = Limits(body_bytes=MAX_GATEWAY_BODY, body_s=10.0, answer_s=320.0, shutdown_s=1.0)
_STATUS: dict[ProblemCode, int] = {
    "policy": 403,
    "asked": 409,
    "outcome-unknown": 409,
    "full": 503,
    "unreachable": 503,
}

_log = logging.getLogger(__name__)


class _Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.error)
        self.status, self.problem = status, problem


def build_control(gateway: Gateway, token: str, uids: frozenset[int]) -> web.Application:
    """Build the application; only `uids`, with the token, get an answer."""
    app = make_app(LIMITS, _refuse, inner=[_authorise(token, uids)])
    handlers = _Handlers(gateway)
    for method, path, handler in (
        ("GET", "/v1/status", handlers.status),
        ("PUT", "/v1/policy", handlers.policy),
        ("PUT", "/v1/secrets", handlers.secrets),
        ("GET", "/v1/approvals", handlers.approvals),
        ("POST", "/v1/approvals/{id}/decision", handlers.decide),
        ("POST", "/v1/servers/{id}/accept", handlers.accept),
        ("POST", "/v1/tools/call", handlers.call),
    ):
        app.router.add_route(method, path, _answered(handler))
    return app


class _Handlers:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def status(self, _: web.Request) -> BaseModel:
        return self._gateway.status()

    async def policy(self, request: web.Request) -> BaseModel:
        message = await _read(request, ConfigDocument)
        if sha256_hex(message.content) != message.sha256:
            raise _Refused(422, Problem(error="the bytes have another hash", code="hash-differs"))
        try:
            self._gateway.set_policy(message.content)
        except AgencyError as error:
            told = error.message[:500]
            raise _Refused(422, Problem(error=told, code="config-refused")) from error
        return self._gateway.status()

    async def secrets(self, request: web.Request) -> BaseModel:
        message = await _read(request, GatewaySecrets)
        values = {n: SecretValue(v.get_secret_value()) for n, v in message.values.items()}
        try:
            self._gateway.set_secrets(values, message.sha256)
        except AgencyError as error:
            raise _Refused(422, Problem(error=error.message[:500])) from error
        return self._gateway.status()

    async def approvals(self, _: web.Request) -> BaseModel:
        gateway = self._gateway
        return PendingApprovals(agent=gateway.agent, approvals=gateway.approvals.waiting())

    async def decide(self, request: web.Request) -> BaseModel:
        decision = await _read(request, ApprovalDecision)
        approval = request.match_info["id"]
        try:
            await self._gateway.decide(approval, decision)
        except DecisionRefusedError as error:
            raise _Refused(error.status, Problem(error=error.message, code=error.code)) from error
        except (NotRecordedError, OSError) as error:
            problem = Problem(error="the decision cannot be kept; nothing was decided")
            raise _Refused(503, problem) from error
        return ApprovalDecided(agent=self._gateway.agent, id=approval, decision=decision.decision)

    async def accept(self, request: web.Request) -> BaseModel:
        message = await _read(request, ServerAcceptance)
        try:
            done = await self._gateway.accept(request.match_info["id"], message.list_sha256)
        except NotRecordedError as error:
            raise _Refused(503, Problem(error=error.message)) from error
        if not done:
            text = "no server of this name offers tools of this digest now"
            raise _Refused(409, Problem(error=text, code="hash-differs"))
        return self._gateway.status()

    async def call(self, request: web.Request) -> BaseModel:
        message = await _read(request, ToolCall)
        trace = request.headers.get(TRACE_HEADER, "")
        gateway = self._gateway
        call = Call(
            message.tool,
            message.arguments,
            "control",
            trace if is_trace(trace) else None,
            waits=False,
        )
        answer = await gateway.dispatcher.call(call)
        if isinstance(answer, Refusal):
            failed = () if answer.approval is None else (answer.approval,)
            problem = Problem(error=answer.reason, code=answer.code, failed=failed)
            raise _Refused(_STATUS.get(answer.code, 503), problem)
        return ToolResult(agent=gateway.agent, content=answer.text, failed=answer.failed)


_Model = Callable[[web.Request], Awaitable[BaseModel]]
ModelT = TypeVar("ModelT", bound=BaseModel)


async def _read(request: web.Request, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError:
        raise _Refused(422, Problem(error="the message is not valid")) from None


def _answered(handler: _Model) -> Handler:
    async def answered(request: web.Request) -> web.Response:
        try:
            if not all(is_id(each) for each in request.match_info.values()):
                return _answer(Problem(error="nothing has this id", code="unknown"), 404)
            return _answer(await handler(request))
        except _Refused as refused:
            return _answer(refused.problem, refused.status)

    return answered


def _answer(body: BaseModel, status: int = 200) -> web.Response:
    told = body.model_dump_json(exclude_defaults=isinstance(body, Problem))
    return web.Response(body=told.encode(), status=status, content_type="application/json")


def _refuse(_: web.Request, status: int, reason: str) -> web.Response:
    return _answer(Problem(error=reason), status)


def _authorise(token: str, uids: frozenset[int]) -> Middleware:
    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        if peer_uid(request) not in uids or not carries_bearer(request, token):
            return _answer(Problem(error="this is not for you"), 401)
        return await handler(request)

    return authorise
