"""Server of the HTTP interface: every request is bounded, identified and permitted before it runs.

connection bounds ─▶ refusals as problems ─▶ token, rate, permission ─▶ body bounds ─▶ handler
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler as WebHandler
from aiohttp.typedefs import Middleware
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from agency.control.api.access import Access
from agency.control.api.handlers import Call, Handler, Handlers
from agency.control.api.models import Model
from agency.control.api.problems import RefusedError, refuse
from agency.control.api.routes import OPERATION_ID, ROUTES, Route
from agency.control.commands import GRAMMAR
from agency.control.store.tokens import Token
from agency.settings import explain
from agency.web import Bounds, Limits, make_app, request_key

_log = logging.getLogger(__name__)

_TOKEN = request_key("agency.control.token", Token)
_MAX_BODY = 256 * 1024  # a document of 48 Ki characters, written as JSON
_BY_PLACE: Mapping[tuple[str, str], Route] = {(each.method, each.place): each for each in ROUTES}

LIMITS = Limits(
    body_bytes=_MAX_BODY,
    body_s=10.0,
    answer_s=45.0,
    bounds=Bounds(connections=128, head_bytes=16 * 1024, head_s=10.0, headers=60),
    keep_alive_s=30.0,
    linger_s=2.0,
    shutdown_s=0.5,
)


def build_app(handlers: Handlers) -> web.Application:
    """Build the application; it answers under `/api/v1` alone."""
    app = make_app(LIMITS, refuse, outer=[_noted], inner=[_guarded(handlers.access)])
    found = handlers.by_name()
    for route in ROUTES:
        place = route.place.replace("{id}", f"{{id:{OPERATION_ID}}}")
        app.router.add_route(route.method, place, _served(route, found[route.name]))
    return app


@web.middleware
async def _noted(request: web.Request, handler: WebHandler) -> web.StreamResponse:
    """Give every answer its headers; nothing of it is to be kept or guessed at by a browser."""
    response = await handler(request)
    if not response.prepared:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _guarded(access: Access) -> Middleware:
    @web.middleware
    async def guarded(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        """Identify and permit before a body is read."""
        route = _route(request)
        try:
            if route is None or route.open:
                access.stranger()
                return await handler(request)
            token = access.identify(request)
            if route.rule is not None:
                access.permit(token, GRAMMAR.by_name[route.rule])
            with access.place(token):
                request[_TOKEN] = token
                return await handler(request)
        except RefusedError as error:
            if route is not None and error.status in (401, 403):
                fields = {"action": route.name, "status": error.status}
                _log.debug("refused", extra={"fields": fields})
            return error.response()
        except SQLAlchemyError as error:
            _log.error("the store cannot be used: %s", type(error).__name__)
            return RefusedError(503, "the store cannot be used", retry_after_s=5).response()

    return guarded


def _route(request: web.Request) -> Route | None:
    resource = request.match_info.route.resource
    place = "" if resource is None else re.sub(r"\{id:[^}]*\}+", "{id}", resource.canonical)
    return _BY_PLACE.get((request.method, place))


def _served(route: Route, handle: Handler) -> WebHandler:
    async def served(request: web.Request) -> web.StreamResponse:
        token = request.get(_TOKEN)
        call = Call(request, token, _query(route, request))
        if token is not None:
            fields = {"actor": token.person, "action": f"http {route.name}", "token": token.id}
            _log.info("asked", extra={"fields": fields})
        return await handle(call)

    return served


def _query(route: Route, request: web.Request) -> Model:
    """Read the query of a request; a name that comes twice is refused.

    Raises:
        RefusedError: it is not what the route takes.
    """
    given = dict(request.query)
    if len(given) != len(request.query):
        raise RefusedError(400, "a parameter is given twice")
    try:
        return route.query.model_validate(given)
    except ValidationError as error:
        raise RefusedError(400, explain(error)) from None
