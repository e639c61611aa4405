"""Application factory: every server has the same limits and one form of refusal."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from agency.web.connections import BoundedSite, Bounds, Connections
from agency.web.quiet import QuietFilter, QuietLog

_log = logging.getLogger(__name__)

# Makes the answer of a refusal from the request, the HTTP status and the reason.
Refuse = Callable[[web.Request, int, str], web.Response]

CONNECTIONS = web.AppKey("connections", Connections)

_answer_limit: ContextVar[asyncio.Timeout | None] = ContextVar("answer_limit", default=None)
_KEPT = (hdrs.ALLOW, hdrs.LOCATION, hdrs.RETRY_AFTER, hdrs.WWW_AUTHENTICATE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server; sizes are in bytes.

    `line_bytes` bounds the request line and each header; `answer_s` the handler, without the
    reading of the body. `bounds` hold for servers that `listen` serves.
    """

    body_bytes: int
    body_s: float = 30.0
    answer_s: float = 60.0
    line_bytes: int = 8190
    bounds: Bounds = field(default_factory=Bounds)
    keep_alive_s: float = 75.0
    linger_s: float = 10.0
    shutdown_s: float = 5.0


def make_app(
    limits: Limits,
    refuse: Refuse,
    *,
    outer: Sequence[Middleware] = (),
    inner: Sequence[Middleware] = (),
) -> web.Application:
    """Make an application; `outer` sees every answer, `inner` decides before a body is read."""
    connections = Connections(limits.bounds)
    app = web.Application(
        # aiohttp 3.13 refuses a body of the limit itself, 3.14 does not: `_limited` decides.
        client_max_size=limits.body_bytes + 1,
        middlewares=[
            *outer,
            _refusals(refuse),
            connections.middleware(),
            *inner,
            _limited(limits),
        ],
    )
    app[CONNECTIONS] = connections
    return app


def make_runner(app: web.Application, limits: Limits) -> web.AppRunner:
    """Make the runner of an application; signals and access logs are left to its program."""
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=limits.keep_alive_s,
        lingering_time=limits.linger_s,
        shutdown_timeout=limits.shutdown_s,
        max_line_size=limits.line_bytes,
        max_field_size=limits.line_bytes,
        logger=http_log(),
    )


async def listen(runner: web.AppRunner, listening: socket.socket) -> None:
    """Serve on a bound socket, within the bounds of the application that `make_app` made."""
    await BoundedSite(runner, listening, runner.app[CONNECTIONS]).start()


def http_log() -> logging.Logger:
    """Return aiohttp's logger, made quiet: a stranger decides how often it has a thing to say."""
    log = logging.getLogger("aiohttp.server")
    if not any(isinstance(each, QuietFilter) for each in log.filters):
        log.addFilter(QuietFilter(QuietLog(log)))
    return log


def lift_answer_limit() -> None:
    """Lift the time limit of the running handler, which has its own."""
    limit = _answer_limit.get()
    if limit is not None:
        limit.reschedule(None)


def _refusals(refuse: Refuse) -> Middleware:
    @web.middleware
    async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every refusal one form; log internal errors, and never send their details."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = refuse(request, error.status, error.reason)
            for name in _KEPT:
                if name in error.headers:
                    response.headers[name] = error.headers[name]
            return response
        except Exception:  # noqa: BLE001 - the outermost edge of a request; it is logged whole
            fields = {"from": request.remote, "method": request.method[:16]}
            _log.exception("a request failed", extra={"fields": fields})
            return refuse(request, 500, "internal error")

    return refusals


def _limited(limits: Limits) -> Middleware:
    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Read the body within its limits, then answer in time."""
        length = request.content_length
        if length is not None and length > limits.body_bytes:
            raise web.HTTPRequestEntityTooLarge(limits.body_bytes, length)
        if request.can_read_body:
            try:
                async with asyncio.timeout(limits.body_s):
                    length = len(await request.read())
            except TimeoutError:
                raise web.HTTPRequestTimeout(reason="the body did not come in time") from None
            if length > limits.body_bytes:
                raise web.HTTPRequestEntityTooLarge(limits.body_bytes, length)
        try:
            async with asyncio.timeout(limits.answer_s) as limit:
                _answer_limit.set(limit)
                return await handler(request)
        except TimeoutError:
            if not limit.expired():
                raise
            _log.error("no answer within %g s", limits.answer_s)
            raise web.HTTPServiceUnavailable(reason="not answered in time") from None

    return limited
