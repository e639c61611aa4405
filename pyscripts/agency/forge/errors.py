"""Errors of a forge, and readers of its answers, which all forges share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from agency.errors import AgencyError, PrerequisiteError

Wanted = TypeVar("Wanted", str, int)


class ForgeError(AgencyError):
    """A call that a forge refused, or answered with something other than promised.

    `status` is the HTTP status, if there was one.
    """

    def __init__(self, message: str, *, where: str, status: int | None = None) -> None:
        super().__init__(message, where=where)
        self.status = status


class ForgeUnreachableError(PrerequisiteError):
    """A forge that does not answer, or not in time."""


def field_of(answer: Mapping[str, Any], wanted: type[Wanted], *keys: str) -> Wanted:
    """Return the value under `keys`.

    Raises:
        ForgeError: there is none of that type.
    """
    value: Any = answer
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ForgeError(f"the forge's answer has no {wanted.__name__}", where=".".join(keys))
    return value


def objects_of(answer: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects.

    Raises:
        ForgeError: it is something else.
    """
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise ForgeError("the forge's answer is no list of objects", where=where)
    return answer
