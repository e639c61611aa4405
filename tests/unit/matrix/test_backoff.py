"""How long is waited before another attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.matrix import Backoff


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_wait_is_bounded_and_never_shorter_than_was_asked(
    attempt: int, chance: float, asked: float | None
) -> None:
    delay = Backoff(first_s=0.25, longest_s=60, jitter=lambda: chance).delay_s(attempt, asked)
    assert 0 < delay <= 300
    if asked is None:
        assert delay <= 60
    else:
        assert delay >= min(asked, 300)


def test_wait_grows_and_is_spread() -> None:
    least = Backoff(jitter=lambda: 0.0)
    most = Backoff(jitter=lambda: 1.0)
    assert [least.delay_s(n) for n in (1, 2, 3)] == [0.125, 0.25, 0.5]
    assert [most.delay_s(n) for n in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert most.delay_s(100) == 60


@pytest.mark.parametrize(("asked", "waited"), [(3.0, 3.0), (0.01, 0.25), (10_000.0, 300.0)])
def test_homeserver_may_ask_for_more(asked: float, waited: float) -> None:
    assert Backoff(jitter=lambda: 1.0).delay_s(1, asked) == waited
