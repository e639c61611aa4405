"""Errors of a forge, and readers of its answers, which all forges share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from agency.errors import AgencyError, PrerequisiteError

Wanted = TypeVar("Wanted", str, int)


class ForgeError(AgencyError):
    """A call that a forge refused, or answered with something other than promised.

    `status` is the HTTP status, if there was one; `after_s` the wait that the forge asks for.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str,
        status: int | None = None,
        after_s: float | None = None,
    ) -> None:
        super().__init__(message, where=where)
        self.status = status
        self.after_s = after_s


class ForgeTooLargeError(ForgeError):
    """An answer above the bound of an answer, which nobody read to its end."""


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


def moment_of(answer: Mapping[str, Any], key: str) -> datetime:
    """Return the moment under `key`, with its time zone.

    Raises:
        ForgeError: there is none.
    """
    said = field_of(answer, str, key)
    try:
        return _aware(datetime.fromisoformat(said))
    except ValueError:
        raise ForgeError("the forge's answer has no moment", where=key) from None


def date_of(headers: Mapping[str, str], where: str) -> datetime:
    """Return the moment of the header Date, in whole seconds of the forge's clock.

    Raises:
        ForgeError: there is none.
    """
    try:
        return _aware(parsedate_to_datetime(headers.get("Date", ""))).astimezone(UTC)
    except ValueError:
        raise ForgeError("the forge's answer has no date", where=where) from None


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return moment


def objects_of(answer: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects.

    Raises:
        ForgeError: it is something else.
    """
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise ForgeError("the forge's answer is no list of objects", where=where)
    return answer
