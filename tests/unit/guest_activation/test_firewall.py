"""Two listings of one firewall are equal; of two firewalls they are not."""

from __future__ import annotations

import json
from typing import Any

from agency.guests.activation.firewall import normal


def listing(*, handle: int = 1, elements: tuple[int, ...] = (1, 2), rule: str = "accept") -> bytes:
    entries: list[dict[str, Any]] = [
        {"metainfo": {"version": str(handle)}},
        {"set": {"name": "agents", "handle": handle, "elem": list(elements)}},
        {"rule": {"chain": "output", "handle": handle + 1, "expr": [{rule: None}]}},
    ]
    return json.dumps({"nftables": entries}).encode()


def test_handles_and_the_order_in_sets_do_not_matter() -> None:
    assert normal(listing()) == normal(listing(handle=7, elements=(2, 1)))


def test_everything_else_does() -> None:
    wanted = normal(listing())
    assert normal(listing(elements=(1,))) != wanted
    assert normal(listing(rule="drop")) != wanted
