"""A lease of this very checkout, by the commands that people type."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import urlopen

from driving import ROOT


def test_the_agency_of_a_checkout_answers_at_the_leases_url(prepared: Any, ground: Any) -> None:
    made = ground.agency("sandbox", "up", "--source", str(ROOT), "--ttl", "30m", "--json")
    assert made.returncode == 0, made.stderr
    lease = json.loads(made.stdout)
    try:
        with urlopen(f"{lease['url']}/_matrix/client/versions", timeout=30) as answer:
            assert json.load(answer)["versions"]
        listed = ground.agency("sandbox", "list").stdout
        assert lease["url"] in listed, (
            "what people need is shown whole, however narrow the terminal"
        )
        assert lease["name"] in listed
    finally:
        ended = ground.agency("sandbox", "down", lease["name"])
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ground.agency("sandbox", "list", "--json").stdout) == []
    ground.assert_nothing_left(lease["name"])
