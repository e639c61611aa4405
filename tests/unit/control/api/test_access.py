"""Allowances of requests: by token, with a burst, given back by time."""

from __future__ import annotations

from typing import Any

import pytest

from agency.clock import Clock
from agency.control.api.access import MOST_AT_ONCE, MOST_STREAMS, Access, Rate
from agency.control.api.problems import RefusedError
from agency.control.store.tokens import Token

TOKEN = Token("a" * 64, "@a:x", "viewer", "cli:root", 0, 1)
OTHER = Token("b" * 64, "@b:x", "viewer", "cli:root", 0, 1)


def taken(rate: Rate, key: str, most: int = 1000) -> int:
    """How many requests an allowance gives until it refuses one."""
    for number in range(most):
        try:
            rate.take(key)
        except RefusedError:
            return number
    return most


def test_a_burst_then_the_rate_and_nobody_else_is_kept_out(clock: Clock, held: Any) -> None:
    rate = Rate(clock, per_minute=60)
    assert taken(rate, "a") == 6
    assert taken(rate, "a") == 0
    held.seconds += 3
    assert taken(rate, "a") == 3
    assert taken(rate, "b") == 6
    held.seconds += 3600
    assert taken(rate, "a") == 6, "what is saved up is no more than the burst"


def test_a_refusal_says_when_to_come_again(clock: Clock) -> None:
    rate = Rate(clock, per_minute=60)
    taken(rate, "a")
    with pytest.raises(RefusedError) as caught:
        rate.take("a")
    response = caught.value.response()
    assert (response.status, response.headers["Retry-After"]) == (429, "1")


def test_a_clock_that_stands_still_gives_nothing(clock: Clock) -> None:
    rate = Rate(clock, per_minute=600)
    assert taken(rate, "a") == 60
    assert taken(rate, "a") == 0


def test_keys_are_bounded(clock: Clock) -> None:
    rate = Rate(clock, per_minute=60, most_keys=10)
    for number in range(100):
        rate.take(str(number))
    assert len(rate._left) == 10


@pytest.mark.parametrize(("name", "most"), [("place", MOST_AT_ONCE), ("stream", MOST_STREAMS)])
def test_what_one_token_has_open_is_bounded(clock: Clock, name: str, most: int) -> None:
    nothing: Any = None
    access = Access(nothing, nothing, Rate(clock, 600))
    hold = getattr(access, name)
    held = [hold(TOKEN) for _ in range(most)]
    for each in held:
        each.__enter__()
    with pytest.raises(RefusedError, match="at most"), hold(TOKEN):
        pass
    with hold(OTHER):
        pass
    held.pop().__exit__(None, None, None)
    with hold(TOKEN):
        pass
