"""The HTTP server that the homeserver calls.

Source: Matrix specification 1.11, "Application Service API". The homeserver proves itself by
`hs_token` in the Authorization header; a token in the query would end in logs and is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from agency.control.appservice.transactions import (
    InboxFullError,
    Intake,
    TransactionError,
    read_events,
)
from agency.secrets.values import SecretValue

_log = logging.getLogger(__name__)

_PREFIX = "/_matrix/app/v1"
_MAX_TXN_ID = 255
_BODY_TIMEOUT_S = 30.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AppService:
    """What the server needs to answer."""

    hs_token: SecretValue
    intake: Intake
    max_body: int
    user_exists: Callable[[str], bool]
    alias_exists: Callable[[str], bool]
    readiness: Callable[[], Awaitable[dict[str, Any]]]
    answered: Callable[[], Awaitable[None]]  # returns when a reply has left, or soon after
    stopping: Callable[[], bool]


def make_app(service: AppService) -> web.Application:
    """The application; its handlers are small and know nothing of one another."""
    app = web.Application(
        client_max_size=service.max_body, middlewares=[_errors, _authorised(service.hs_token)]
    )

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
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            body = await request.read()
    except TimeoutError:
        return _problem(408, "M_UNKNOWN", "the body did not come in time")
    try:
        fresh = await service.intake.take(txn_id, read_events(body))
    except TransactionError as error:
        return _problem(400, error.errcode, str(error))
    except InboxFullError:
        _log.warning("the inbox is full; the homeserver is asked to deliver again later")
        return _problem(503, "M_LIMIT_EXCEEDED", "too much is waiting; deliver again later")
    if fresh:
        # It is on disk. What a homeserver writes when it is acknowledged would hold up the reply.
        await service.answered()
    return web.json_response({})


def _found(found: bool) -> web.Response:
    return web.json_response({}) if found else _problem(404, "M_NOT_FOUND", "not ours")


def _problem(status: int, errcode: str, message: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": message}, status=status)


def _authorised(hs_token: SecretValue) -> Any:
    wanted = f"Bearer {hs_token.reveal()}".encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/_matrix/"):
            return await handler(request)
        given = request.headers.getall("Authorization", [])
        right = len(given) == 1 and hmac.compare_digest(
            given[0].encode(errors="surrogateescape"), wanted
        )
        if not right or "access_token" in request.query:
            _log.warning(
                "a call without the homeserver's token", extra={"fields": _origin(request)}
            )
            return _problem(403, "M_FORBIDDEN", "hs_token is needed, in the Authorization header")
        return await handler(request)

    return middleware


def _origin(request: web.Request) -> dict[str, Any]:
    return {"from": request.remote, "method": request.method}


_ERRCODES = {
    404: ("M_UNRECOGNIZED", "no such endpoint"),
    405: ("M_UNRECOGNIZED", "no such method"),
    413: ("M_TOO_LARGE", "the body is too large"),
}


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as Matrix's JSON; what went wrong inside goes to the log alone."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        errcode, message = _ERRCODES.get(error.status, ("M_UNKNOWN", error.reason))
        return _problem(error.status, errcode, message)
    except Exception:  # noqa: BLE001 - the edge of a request: the homeserver gets an answer
        _log.exception("a call failed", extra={"fields": _origin(request)})
        return _problem(500, "M_UNKNOWN", "internal error")
