"""Event as an agent sends it: one line, validated before use."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agency.canonical import canonical_json, once_each
from agency.errors import BadInputError
from agency.protocols import MAX_LINE

# Events of this kind are the service's own: no agent can write that a file was closed or removed.
RESERVED = "log."
MAX_DETAIL = 2048  # bytes of its canonical form
_MAX_DEPTH = 4
_MAX_INTEGER = 2**53 - 1  # what every JSON reader keeps exactly
_EVENT = r"^[a-z][a-z0-9]*([._-][a-z0-9]+)*$"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\Z")
# JSON keeps these as they are, and a terminal would act on them or show another order.
# Half of a surrogate pair is no character at all.
_MISLEADING = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HINT = 'one line is {"event": "name.of-it", "detail": {"key": "value"}}'


class Event(BaseModel):
    """Event with a few facts; no field names its sender."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    event: str = Field(pattern=_EVENT, max_length=64)
    detail: dict[str, Any] = {}

    @field_validator("event")
    @classmethod
    def _not_ours(cls, event: str) -> str:
        if event.startswith(RESERVED):
            raise ValueError(f"events that begin with {RESERVED!r} are the log's own")
        return event

    @field_validator("detail")
    @classmethod
    def _small(cls, detail: dict[str, Any]) -> dict[str, Any]:
        _check(detail, 1)
        if len(canonical_json(detail)) > MAX_DETAIL:
            raise ValueError(f"longer than {MAX_DETAIL} bytes")
        return detail


def parse_event(line: bytes) -> Event:
    """Parse one line into an event.

    Raises:
        BadInputError: it is no event; the message names the field and never repeats its value.
    """
    if len(line) > MAX_LINE:
        raise BadInputError(f"the line is longer than {MAX_LINE} bytes", hint=_HINT)
    try:
        given = json.loads(
            line.decode(), object_pairs_hook=once_each, parse_constant=_not_a_constant
        )
        return Event.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{field}: {message}" if field else message, hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise BadInputError("the line is not one JSON object in UTF-8", hint=_HINT) from error


def _check(value: object, depth: int) -> None:
    """Refuse nesting too deep, large integers and misleading text; the caller checks the size."""
    if isinstance(value, str) and _MISLEADING.search(value):
        raise ValueError("holds a character that changes how text is shown")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError(f"an integer beyond {_MAX_INTEGER}; write it as text")
    if not isinstance(value, dict | list):
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict) and not all(map(_KEY.match, value)):
        raise ValueError("a key is 1 to 64 of A-Z, a-z, 0-9, dot, dash, underscore")
    for inner in value.values() if isinstance(value, dict) else value:
        _check(inner, depth + 1)


def _not_a_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
