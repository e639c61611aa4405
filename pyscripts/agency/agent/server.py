"""HTTP server of the agent's side of ACP: version 1, and the unversioned health and status.

Every request must carry the bearer token in its Authorization header; without it a caller cannot
even learn which paths exist. Every refusal has a `Problem` as its body.
"""

from __future__ import annotations

import logging
import os

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel

from agency import __version__
from agency.agent.api import Api
from agency.agent.calling import as_body, trace_of
from agency.agent.looking import LOOKS, Looks
from agency.agent.recording import Recorder
from agency.agent.state import AgentState
from agency.clock import Clock, iso
from agency.protocols import (
    HEALTH_PATH,
    MAX_BODY,
    STATUS_PATH,
    TRACE_HEADER,
    AgentConfig,
    Health,
    Problem,
    Status,
)
from agency.web import Limits, carries_bearer, make_app

_REFUSALS = {
    400: "malformed request",
    404: "no such path",
    405: "this path does not take this method",
    413: f"the body is longer than {MAX_BODY} bytes",
    500: "the agent failed to answer; see its log",
}

LIMITS = Limits(
    body_bytes=MAX_BODY,
    body_s=10.0,
    keep_alive_s=15.0,
    linger_s=1.0,  # for a refused caller that still sends its body
    shutdown_s=1.0,  # for requests in flight, at the end
)

_FIRST_FAULT = 400  # an HTTP status from here on says that it failed

_log = logging.getLogger(__name__)


def build_app(
    config: AgentConfig,
    token: str,
    clock: Clock,
    recorder: Recorder | None = None,
    state: AgentState | None = None,
    limits: Limits = LIMITS,
    looks: Looks | None = None,
) -> web.Application:
    """Build the ACP application of one agent; `recorder`, if given, records accepted requests.

    Those that only look are counted by `looks` instead. Its end ends all work of `state`.

    Raises:
        ValueError: the token is empty.
    """
    if not token:
        raise ValueError("an empty token would let every caller in")
    app = make_app(
        limits,
        _refuse,
        outer=[_log_request],
        inner=[_authorise(token), _put_on_record(recorder, looks or Looks())],
    )
    app.on_response_prepare.append(_set_headers)
    state = state or AgentState(config.name, clock)
    started_wall, started_steady = clock.wall(), clock.steady()

    async def health(_: web.Request) -> web.Response:
        return _answer(Health(status="ok", agent=config.name))

    async def status(_: web.Request) -> web.Response:
        return _answer(
            Status(
                agent=config.name,
                role=config.role,
                version=__version__,
                pid=os.getpid(),
                project=config.project,
                started_at=iso(started_wall),
                uptime_s=round(clock.steady() - started_steady, 3),
                trace=config.trace,
            )
        )

    app.router.add_get(HEALTH_PATH, health, allow_head=False)
    app.router.add_get(STATUS_PATH, status, allow_head=False)
    Api(config, state).add_to(app.router)

    async def end_work(_: web.Application) -> None:
        await state.close()

    app.on_shutdown.append(end_work)
    return app


def _answer(body: BaseModel, status: int = 200) -> web.Response:
    return web.Response(body=as_body(body), status=status, content_type="application/json")


def _refusal(status: int, reason: str) -> web.Response:
    return _answer(Problem(error=reason), status)


def _refuse(_: web.Request, status: int, reason: str) -> web.Response:
    return _refusal(status, _REFUSALS.get(status, reason))


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = f"agency/{__version__}"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if (trace := trace_of(request)) is not None:
        response.headers[TRACE_HEADER] = trace


@web.middleware
async def _log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log method, path, answer and trace id; leave out a malformed trace id."""
    response = await handler(request)
    _log.info(
        "request",
        extra={
            "fields": {
                "method": request.method[:16],
                "path": request.path[:200],
                "status": response.status,
                "trace": trace_of(request),
            }
        },
    )
    return response


def _authorise(token: str) -> Middleware:
    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not carries_bearer(request, token):
            refusal = _refusal(401, "a valid bearer token is needed")
            refusal.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="agency-agent"'
            return refusal
        return await handler(request)

    return authorise


def _put_on_record(recorder: Recorder | None, looks: Looks) -> Middleware:
    """Put accepted requests on record, count those that only look, and ignore refusals."""

    @web.middleware
    async def put_on_record(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.match_info.http_exception is not None:
            return await handler(request)
        if request.path in LOOKS:
            return await _counted(request, handler, looks)
        if recorder is not None:
            recorder.put(
                "acp.taken",
                method=request.method,
                path=request.rel_url.raw_path[:200],
                trace=trace_of(request),
            )
        return await handler(request)

    return put_on_record


async def _counted(request: web.Request, handler: Handler, looks: Looks) -> web.StreamResponse:
    good = False
    try:
        response = await handler(request)
        good = response.status < _FIRST_FAULT
        return response
    finally:
        looks.add(good=good)
