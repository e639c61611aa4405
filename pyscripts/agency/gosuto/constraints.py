"""Constraints on the arguments of a tool: each holds, fails, or cannot be decided. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Self

import re2
from pydantic import AfterValidator, Field, model_validator

from agency.characters import is_whole
from agency.gosuto.urls import UnreadableError, Url, read_host, read_url
from agency.gosuto.values import Text, shown
from agency.settings import Written

MAX_PATTERN = 500
MAX_MATCHED = 65_536  # characters of a value that a pattern is matched with
_MEMORY = 1 << 20  # bytes for one compiled pattern
_KINDS = ("exact", "prefix", "hosts", "regex", "range")


class Held(StrEnum):
    """Result of a constraint. One that cannot be decided is a refusal, whatever the rule."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return options


def _pattern(text: str) -> str:
    if len(text) > MAX_PATTERN:
        raise ValueError(f"has {len(text)} characters, and may have {MAX_PATTERN}")
    try:
        re2.compile(text, _options())
    except re2.error as error:
        why = error.args[0] if error.args else ""
        reason = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise ValueError(
            f"is not a pattern of RE2 (which has no look-around and no back references): {reason}"
        ) from None
    return text


def _prefix(text: str) -> str:
    try:
        url = read_url(text)
    except UnreadableError as error:
        raise ValueError(f"{shown(text)} {error}") from None
    if url.has_query or "#" in text:
        raise ValueError(f"{shown(text)} has a query or fragment; end it before that")
    return text


def _host(text: str) -> str:
    try:
        read_host(text.removeprefix("*."))
    except UnreadableError as error:
        raise ValueError(f"{shown(text)} {error}") from None
    if text.startswith("*.") and text.count(".") < 2:
        raise ValueError(f"{shown(text)} is every host of a top-level domain; name them")
    return text


def _server_url(text: str) -> str:
    try:
        url = read_url(text)
    except UnreadableError as error:
        raise ValueError(f"{shown(text)} {error}") from None
    if url.has_query or "#" in text:
        raise ValueError(f"{shown(text)} has a query or fragment; a secret there would be logged")
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError(f"{shown(text)} must begin with https:// or http://")
    return text


ServerUrl = Annotated[str, AfterValidator(_server_url)]
UrlPrefix = Annotated[str, AfterValidator(_prefix)]
HostPattern = Annotated[str, AfterValidator(_host)]
Re2Pattern = Annotated[str, AfterValidator(_pattern)]
Number = Annotated[int | float, Field(allow_inf_nan=False)]


class Range(Written):
    """Numbers from `min` to `max`, both included; one of them may be left out."""

    min: Number | None = Field(default=None, description="the smallest number")
    max: Number | None = Field(default=None, description="the largest number")

    @model_validator(mode="after")
    def _is_some_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("has neither min nor max; give one of them")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"has no number in it: min {self.min} is above max {self.max}")
        return self


class Constraint(Written):
    """Condition on one argument; exactly one kind of it is given."""

    exact: Text | bool | Number | None = Field(default=None, description="exactly this value")
    prefix: UrlPrefix | None = Field(
        default=None, description="a URL that is this one, or below it by scheme, host, port, path"
    )
    hosts: list[HostPattern] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="a URL or a host, the host one of these; `*.` stands for all below a domain",
    )
    regex: Re2Pattern | None = Field(
        default=None, description="a text that this pattern of RE2 matches from end to end"
    )
    range: Range | None = Field(default=None, description="a number in this range")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "nothing"
            raise ValueError(f"must be exactly one of {', '.join(_KINDS)}, and has {found}")
        return self

    def test(self, value: object) -> tuple[Held, str]:
        """Test a value; return the result, and why for one that does not hold."""
        if self.exact is not None:
            return _test_exact(self.exact, value)
        if self.range is not None:
            return _test_range(self.range, value)
        if not isinstance(value, str):
            return Held.UNDECIDED, "is not a text"
        if self.prefix is not None:
            return _test_prefix(self.prefix, value)
        if self.hosts is not None:
            return _test_hosts(self.hosts, value)
        return _test_regex(self.regex or "", value)


# A decision tests one value by many rules, and the same rules test the next one: what was read is
# kept. Values are kept for the call alone, more or less: few, and only short ones.
@lru_cache(maxsize=16)
def _known_url(text: str) -> Url | str:
    """Read a value as a URL, or say why it is none."""
    try:
        return read_url(text)
    except UnreadableError as error:
        return str(error)


@lru_cache(maxsize=16)
def _known_host(text: str) -> tuple[str, str]:
    """Read the host of a value; the second text says why it has none."""
    try:
        bare = text.startswith("[") or not (":" in text or "/" in text)
        return (read_host(text) if bare else read_url(text).host), ""
    except UnreadableError as error:
        return "", str(error)


@lru_cache(maxsize=1024)
def _rule_url(text: str) -> Url:
    return read_url(text)


@lru_cache(maxsize=1024)
def _rule_host(text: str) -> str:
    return read_host(text)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _options())


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _test_exact(wanted: str | bool | float, value: object) -> tuple[Held, str]:
    plain = isinstance(wanted, bool | str)
    same_kind = type(value) is type(wanted) if plain else _is_number(value)
    if not same_kind:
        return Held.UNDECIDED, "is of another kind than the value that it is compared with"
    return (Held.YES, "") if value == wanted else (Held.NO, "is another value")


def _test_range(wanted: Range, value: object) -> tuple[Held, str]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_number(value):
        return Held.UNDECIDED, "is not a number"
    if wanted.min is not None and value < wanted.min:
        return Held.NO, f"is below {wanted.min}"
    if wanted.max is not None and value > wanted.max:
        return Held.NO, f"is above {wanted.max}"
    return Held.YES, ""


def _test_prefix(prefix: str, value: str) -> tuple[Held, str]:
    url = _known_url(value)
    if isinstance(url, str):
        return Held.UNDECIDED, url
    if url.is_below(_rule_url(prefix)):
        return Held.YES, ""
    return Held.NO, f"is not below {prefix}"


def _test_hosts(patterns: list[str], value: str) -> tuple[Held, str]:
    host, fault = _known_host(value)
    if fault:
        return Held.UNDECIDED, fault
    for pattern in patterns:
        wanted = _rule_host(pattern.removeprefix("*."))
        below = pattern.startswith("*.") and host.endswith(f".{wanted}")
        if below or (not pattern.startswith("*.") and host == wanted):
            return Held.YES, ""
    return Held.NO, f"has the host {host}, which is not listed"


def _test_regex(pattern: str, value: str) -> tuple[Held, str]:
    if len(value) > MAX_MATCHED:
        return Held.UNDECIDED, f"has more than {MAX_MATCHED} characters"
    if not is_whole(value):
        return Held.UNDECIDED, "is not a text in Unicode"
    matched = _compiled(pattern).fullmatch(value)
    return (Held.YES, "") if matched else (Held.NO, "does not match the pattern")
