"""The hash chain that both audit logs are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from agency.chain import Fault, Head, fault_of, genesis, head_of, sealed


@dataclass(frozen=True, slots=True)
class Row:
    sequence: int
    text: str
    previous: str
    hash: str = ""


START = genesis("test/1", owner="one")
FIRST = sealed(Row(1, "first", START.hash))
SECOND = sealed(Row(2, "second", FIRST.hash))


def test_links_in_order_follow_one_another() -> None:
    assert fault_of(START, FIRST) is None
    assert fault_of(head_of(FIRST), SECOND) is None


@pytest.mark.parametrize(
    ("head", "link", "fault"),
    [
        (START, SECOND, Fault.MISSING),
        (head_of(SECOND), FIRST, Fault.REPEATED),
        (head_of(FIRST), FIRST, Fault.REPEATED),
        (START, replace(FIRST, text="edited"), Fault.EDITED),
        (genesis("test/1", owner="another"), FIRST, Fault.FOREIGN),
        (genesis("test/2", owner="one"), FIRST, Fault.FOREIGN),
        (Head(1, "0" * 64), SECOND, Fault.FOREIGN),
    ],
)
def test_each_way_not_to_follow_is_told(head: Head, link: Row, fault: Fault) -> None:
    assert fault_of(head, link) is fault
