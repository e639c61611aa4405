"""Options of `agency transcript verify` that demand a run, a time, a challenge or a key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from agency.clock import Clock
from agency.errors import UsageError
from agency.transcript.demands import Demands, age, key_digest, moment
from agency.transcript.rules.v1.model import Target

Parsed = TypeVar("Parsed")

_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--target",
        type=click.Choice(get_args(Target)),
        help="Demand this target: a run on another one shows less, or something else.",
    ),
    click.option("--run", metavar="ID", help="Demand the run of this id."),
    click.option(
        "--not-before",
        metavar="TIME",
        help="Demand that the run began at this time or later, such as 2026-01-31T12:00:00Z.",
    ),
    click.option(
        "--max-age",
        metavar="AGE",
        help="Demand that it ended at most so long ago: 90s, 15m, 2h, 7d.",
    ),
    click.option(
        "--challenge", metavar="TEXT", help="Demand the text given to spinup_smoke --challenge."
    ),
    click.option(
        "--key-sha256",
        metavar="HEX",
        help="Demand that --key is the key of this SHA-256 (of its SubjectPublicKeyInfo in DER).",
    ),
)


def demands_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a click command, which gets them as one `demands` (Demands)."""

    @functools.wraps(command)
    def packed(
        *,
        target: str | None,
        run: str | None,
        not_before: str | None,
        max_age: str | None,
        challenge: str | None,
        key_sha256: str | None,
        **others: Any,
    ) -> Any:
        now = Clock().utc()
        longest = _parsed(age, max_age, "--max-age")
        demands = Demands(
            target=target,
            run=run,
            not_before=_parsed(moment, not_before, "--not-before"),
            oldest=None if longest is None else now - longest,
            now=now,
            challenge=challenge,
            key_sha256=_parsed(key_digest, key_sha256, "--key-sha256"),
        )
        return command(demands=demands, **others)

    wrapped: Callable[..., Any] = packed
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _parsed(parse: Callable[[str], Parsed], text: str | None, option: str) -> Parsed | None:
    """Parse the value of an option; an error names it."""
    if text is None:
        return None
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(error.message, where=option, hint=error.hint) from None
