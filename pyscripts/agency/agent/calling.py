"""A request as a handler of ACP sees it, and a refusal as its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from agency.agent.answers import Answer
from agency.protocols import TRACE_HEADER, Problem, ProblemCode, is_trace


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """Refusal of a request, with its HTTP status."""

    def __init__(
        self, status: int, error: str, code: ProblemCode | None = None, failed: tuple[str, ...] = ()
    ) -> None:
        super().__init__(error)
        self.answer = Answer(status, as_body(Problem(error=error, code=code, failed=failed)))


def as_body(message: BaseModel) -> bytes:
    """Serialise an answer; a `Problem` says nothing of the fields it does not need."""
    if isinstance(message, Problem):
        return message.model_dump_json(exclude_defaults=True).encode()
    return message.model_dump_json().encode()


def trace_of(request: web.Request) -> str | None:
    """Return the request's trace id, or None if it has none that is well formed."""
    trace = request.headers.get(TRACE_HEADER, "")
    return trace if is_trace(trace) else None


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request as a handler sees it: its message, trace and the parts of its path."""

    message: Any
    trace: str | None
    path: Mapping[str, str]
