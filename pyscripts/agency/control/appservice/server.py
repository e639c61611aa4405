"""The HTTP server that the homeserver calls.

Source: Matrix specification 1.11, "Application Service API". The homeserver proves its identity by
`hs_token` in the Authorization header. A token in the query would end in logs, and is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agency.control.appservice.transactions import (
    InboxFullError,
    Intake,
    TransactionError,
    read_events,
)
from agency.secrets import SecretValue
from agency.web import Limits, carries_bearer, make_app

_log = logging.getLogger(__name__)

_PREFIX = "/_matrix/app/v1"
_MAX_TXN_ID = 255


@dataclass(frozen=True, slots=True)
class AppService:
    """The parts of the control plane that the server needs."""

    hs_token: SecretValue
    intake: Intake
    max_body: int
    user_exists: Callable[[str], bool]
    alias_exists: Callable[[str], bool]
    readiness: Callable[[], Awaitable[dict[str, Any]]]
    answered: Callable[[], Awaitable[None]]  # returns when a reply has left, or soon after the call
    stopping: Callable[[], bool]


def server_limits(max_body: int) -> Limits:
    """Return the limits of the server. Homeservers keep their connections open for long."""
    return Limits(body_bytes=max_body, line_bytes=16 * 1024, keep_alive_s=3630.0, shutdown_s=0.5)


def build_app(service: AppService) -> web.Application:
    """Build the application; its handlers are small and independent of one another."""
    limits = server_limits(service.max_body)
    app = make_app(limits, _refuse, outer=[_noted], inner=[_authorised(service.hs_token)])

    async def transaction(request: web.Request) -> web.StreamResponse:
        return await _transaction(service, request)

    async def user(request: web.Request) -> web.StreamResponse:
        return _found(service.user_exists(request.match_info["user"]))

    async def room(request: web.Request) -> web.StreamResponse:
        return _found(service.alias_exists(request.match_info["alias"]))

    async def ready(_request: web.Request) -> web.StreamResponse:
        body = await service.readiness()
        return web.json_response(body, status=200 if body["ready"] else 503)

    app.router.add_put(f"{_PREFIX}/transactions/{{txn}}", transaction)
    app.router.add_get(f"{_PREFIX}/users/{{user}}", user)
    app.router.add_get(f"{_PREFIX}/rooms/{{alias}}", room)
    app.router.add_post(f"{_PREFIX}/ping", _ping)
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", ready)
    return app


async def _health(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok"})


async def _ping(_request: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def _transaction(service: AppService, request: web.Request) -> web.StreamResponse:
    txn_id = request.match_info["txn"]
    if service.stopping():
        return _problem(503, "M_UNKNOWN", "the control plane is ending")
    if not 0 < len(txn_id) <= _MAX_TXN_ID or not txn_id.isprintable():
        return _problem(400, "M_INVALID_PARAM", "a malformed transaction id")
    try:
        fresh = await service.intake.take(txn_id, read_events(await request.read()))
    except TransactionError as error:
        return _problem(400, error.errcode, str(error))
    except InboxFullError:
        _log.warning("the inbox is full; the homeserver is asked to deliver again later")
        return _problem(503, "M_LIMIT_EXCEEDED", "too much is waiting; deliver again later")
    if fresh:
        # It is on disk. Homeservers write at an acknowledgement, which would hold up the reply.
        await service.answered()
    return web.json_response({})


def _found(found: bool) -> web.Response:
    return web.json_response({}) if found else _problem(404, "M_NOT_FOUND", "not ours")


def _problem(status: int, errcode: str, message: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": message}, status=status)


@web.middleware
async def _noted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log every refused transaction: the homeserver repeats it, and hands over nothing else."""
    response = await handler(request)
    if response.status >= 400 and request.path.startswith(f"{_PREFIX}/transactions/"):
        fields = {"status": response.status, "bytes": request.content_length}
        _log.warning("refused a transaction", extra={"fields": fields})
    return response


def _authorised(hs_token: SecretValue) -> Middleware:
    @web.middleware
    async def authorised(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/_matrix/"):
            return await handler(request)
        right = carries_bearer(request, hs_token.reveal())
        if not right or "access_token" in request.query:
            fields = {"from": request.remote, "method": request.method}
            _log.warning("a call without the homeserver's token", extra={"fields": fields})
            return _problem(403, "M_FORBIDDEN", "hs_token is needed, in the Authorization header")
        return await handler(request)

    return authorised


_ERRCODES = {
    404: ("M_UNRECOGNIZED", "no such endpoint"),
    405: ("M_UNRECOGNIZED", "no such method"),
    413: ("M_TOO_LARGE", "the body is too large"),
}


def _refuse(_request: web.Request, status: int, reason: str) -> web.Response:
    """Make the response for a refusal, in Matrix's JSON."""
    return _problem(status, *_ERRCODES.get(status, ("M_UNKNOWN", reason)))
