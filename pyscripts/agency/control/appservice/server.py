"""The HTTP server that the homeserver calls, and Alertmanager where there is one.

Source: Matrix specification 1.11, "Application Service API". The homeserver proves its identity by
`hs_token` in the Authorization header. A token in the query would end in logs, and is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agency.control.appservice.access import OwnNames
from agency.control.appservice.alerts import ALERTS_PATH, AlertsPage
from agency.control.appservice.metrics import (
    ControlCollector,
    exposition,
    registry,
)
from agency.control.appservice.readiness import Numbers
from agency.control.appservice.refusals import Refusals
from agency.control.appservice.transactions import (
    InboxFullError,
    Intake,
    TransactionError,
    read_events,
)
from agency.control.conditions import Conditions
from agency.control.operations.tally import Tally
from agency.control.vault.page import EntryPage
from agency.secrets import SecretValue
from agency.web import CONNECTIONS, Bounds, Limits, carries_bearer, make_app, metrics_answer

# The request at hand carries the homeserver's token.
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)
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
    is_ready: Callable[[], Awaitable[bool]]
    answered: Callable[[], Awaitable[None]]  # returns when a reply has left, or soon after the call
    stopping: Callable[[], bool]
    conditions: Conditions
    refusals: Refusals
    names: OwnNames
    numbers: Callable[[], Awaitable[Numbers]]
    nouns: tuple[str, ...] = ()  # of commands, by which operations are counted
    tally: Callable[[], Tally] = Tally
    alerts: AlertsPage | None = None  # None: no Alertmanager is configured
    entry: EntryPage | None = None  # None: there is no vault


def server_limits(max_body: int) -> Limits:
    """Return the limits of the server. Homeservers keep their connections open for long."""
    bounds = Bounds(connections=64, head_bytes=16 * 1024, head_s=10.0, headers=40)
    return Limits(
        body_bytes=max_body, bounds=bounds, keep_alive_s=3630.0, linger_s=2.0, shutdown_s=0.5
    )


def build_app(service: AppService) -> web.Application:
    """Build the application; its handlers are small and independent of one another."""
    limits = server_limits(service.max_body)
    app = make_app(
        limits,
        _refuse,
        outer=[_noted(service)],
        inner=[_authorised(service)],
    )
    collector = ControlCollector(
        service.conditions,
        service.refusals,
        service.intake,
        app[CONNECTIONS],
        service.alerts.intake.counts if service.alerts is not None else Counter(),
        service.nouns,
        service.tally,
    )
    numbers = registry(collector)

    async def transaction(request: web.Request) -> web.StreamResponse:
        return await _transaction(service, request)

    async def user(request: web.Request) -> web.StreamResponse:
        return _found(service.user_exists(request.match_info["user"]))

    async def room(request: web.Request) -> web.StreamResponse:
        return _found(service.alias_exists(request.match_info["alias"]))

    async def ready(_request: web.Request) -> web.StreamResponse:
        trusted = _trusted.get()
        body = await service.readiness() if trusted else {"ready": await service.is_ready()}
        return web.json_response(body, status=200 if body["ready"] else 503)

    async def metrics(_request: web.Request) -> web.StreamResponse:
        collector.numbers = await service.numbers()
        return metrics_answer(exposition(numbers))

    app.router.add_put(f"{_PREFIX}/transactions/{{txn}}", transaction)
    app.router.add_get(f"{_PREFIX}/users/{{user}}", user)
    app.router.add_get(f"{_PREFIX}/rooms/{{alias}}", room)
    app.router.add_post(f"{_PREFIX}/ping", _ping)
    app.router.add_get("/live", _live)
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    if service.alerts is not None:
        app.router.add_post(ALERTS_PATH, service.alerts.post)
    if service.entry is not None:
        service.entry.add_to(app)
    return app


async def _live(_request: web.Request) -> web.StreamResponse:
    """Answer that the process serves requests; whether commands get through is /ready's."""
    return web.json_response({"live": True})


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
        return _problem(503, "M_LIMIT_EXCEEDED", "too much is waiting; deliver again later")
    if fresh:
        # It is on disk. Homeservers write at an acknowledgement, which would hold up the reply.
        await service.answered()
    return web.json_response({})


def _found(found: bool) -> web.Response:
    return web.json_response({}) if found else _problem(404, "M_NOT_FOUND", "not ours")


def _problem(status: int, errcode: str, message: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": message}, status=status)


def _noted(service: AppService) -> Middleware:
    @web.middleware
    async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note every refusal, and keep a connection open for the token alone."""
        _trusted.set(False)
        response = await handler(request)
        trusted = _trusted.get()
        transaction = trusted and request.path.startswith(f"{_PREFIX}/transactions/")
        ready = request.path == "/ready"  # says by its status what it says in its body
        if response.status >= 400 and not ready and not service.stopping():
            size = request.content_length
            service.refusals.refused(response.status, size=size, transaction=transaction)
        elif transaction and response.status < 300:
            service.refusals.taken()
        if not trusted:
            response.force_close()
        return response

    return noted


def _authorised(service: AppService) -> Middleware:
    hs_token, names, page = service.hs_token, service.names, service.alerts
    entry = service.entry

    @web.middleware
    async def authorised(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the homeserver's calls in with its token alone, others under our names alone."""
        right = carries_bearer(request, hs_token.reveal()) and "access_token" not in request.query
        _trusted.set(right)
        if entry is not None and entry.covers(request):
            entry.check(request)
        elif not request.path.startswith("/_matrix/"):
            names.check(request)
        elif not right:
            return _problem(403, "M_FORBIDDEN", "hs_token is needed, in the Authorization header")
        if page is not None and request.path == ALERTS_PATH:
            page.check(request)
        return await handler(request)

    return authorised


_ERRCODES = {
    401: ("M_UNKNOWN_TOKEN", "a token is needed, in the Authorization header"),
    404: ("M_UNRECOGNIZED", "no such endpoint"),
    405: ("M_UNRECOGNIZED", "no such method"),
    413: ("M_TOO_LARGE", "the body is too large"),
    421: ("M_FORBIDDEN", "this server has another name"),
}


def _refuse(_request: web.Request, status: int, reason: str) -> web.Response:
    """Make the response for a refusal, in Matrix's JSON."""
    return _problem(status, *_ERRCODES.get(status, ("M_UNKNOWN", reason)))
