"""Refusals as RFC 9457 has them: `application/problem+json`."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web

from agency.control.api.models import Problem
from agency.control.api.routes import PROBLEM

_CODES = {
    400: "bad-request",
    401: "no-token",
    403: "not-permitted",
    404: "not-found",
    405: "no-such-method",
    408: "too-slow",
    409: "key-used",
    411: "no-length",
    413: "too-large",
    415: "not-json",
    422: "not-understood",
    429: "too-many-requests",
    500: "internal",
    503: "not-now",
}


class RefusedError(Exception):
    """A request that is refused with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        trace: str | None = None,
        where: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = _problem(status, detail, code, trace, where)
        self.retry_after_s = retry_after_s

    def response(self) -> web.Response:
        """Make the response."""
        response = _response(self.problem)
        if self.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, round(self.retry_after_s)))
        if self.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def refuse(_request: web.Request, status: int, reason: str) -> web.Response:
    """Make the response for a refusal by the server itself, such as an unknown path."""
    return _response(_problem(status, reason, "", None, None))


def _problem(status: int, detail: str, code: str, trace: str | None, where: str | None) -> Problem:
    code = code or _CODES.get(status, "refused")
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Refused"
    return Problem(
        type=f"urn:agency:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        trace=trace,
        where=where or None,
    )


def _response(problem: Problem) -> web.Response:
    body = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False)
    return web.Response(text=body, status=problem.status, content_type=PROBLEM)
