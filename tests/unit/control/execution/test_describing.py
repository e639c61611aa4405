"""Which version of its document an agent holds, as it is told."""

from __future__ import annotations

import pytest

from agency.control.execution.describing import document_of
from agency.control.store.gosuto import Newest

NEWEST = Newest(2, "b" * 64)


@pytest.mark.parametrize(
    ("held", "newest", "version", "said"),
    [
        (None, None, None, "-"),
        (None, NEWEST, None, "none; the newest is 2"),
        ("b" * 64, NEWEST, 2, "version 2"),
        ("a" * 64, NEWEST, 1, "version 1; the newest is 2"),
        ("c" * 64, NEWEST, None, f"sha256:{'c' * 64}, no version of it; the newest is 2"),
        ("c" * 64, None, None, f"sha256:{'c' * 64}, no version of it"),
    ],
)
def test_what_is_held_is_told_beside_the_newest(
    held: str | None, newest: Newest | None, version: int | None, said: str
) -> None:
    assert document_of(held, newest, version) == said
