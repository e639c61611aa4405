"""Parts of a guest's profile: what they may add to texts that every guest has, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("snapshot")

UNIT = "[Unit]\nAfter=a.service b.service\n\n[Service]\nExecStart=/x \\\n  y\nUser=one\n"


@pytest.fixture
def change(snapshot: Path, evaluate: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """What changes.nix makes of a text and another one."""

    def run(of: str, before: Any, after: Any) -> Any:
        texts = (tmp_path / "before", tmp_path / "after")
        for file, text in zip(texts, (before, after), strict=True):
            file.write_text(text if isinstance(text, str) else json.dumps(text))
        file = tmp_path / "change.nix"
        file.write_text(
            f"let changes = import {snapshot}/modules/lib/changes.nix "
            "{ lib = import <nixpkgs/lib>; }; in "
            f'changes.{of} "it" (builtins.readFile {texts[0]}) (builtins.readFile {texts[1]})'
        )
        return evaluate(file)

    return run


@pytest.mark.parametrize(
    ("after", "drop_in"),
    [
        (
            UNIT.replace("User=one\n", "LoadCredential=a:/a\nLoadCredential=b:/b\nUser=one\n"),
            "[Service]\nLoadCredential=a:/a\nLoadCredential=b:/b\n",
        ),
        (UNIT.replace("a.service b", "a.service c.service b"), "[Unit]\nAfter=c.service\n"),
    ],
    ids=["settings", "names"],
)
def test_a_unit_gets_a_drop_in(change: Callable[..., Any], after: str, drop_in: str) -> None:
    assert change("ofUnit", UNIT, after) == drop_in


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("User=one", "User=two", "it loses User=one"),
        ("User=one\n", "", "it loses User=one"),
        ("a.service b.service", "a.service c.service", "it loses After=a.service b.service"),
        ("  y", "  z", "it loses ExecStart=/x    y"),
    ],
    ids=["another value", "gone", "another name", "another line"],
)
def test_nothing_of_a_unit_is_taken_away(
    change: Callable[..., Any], before: str, after: str, said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        change("ofUnit", UNIT, UNIT.replace(before, after))


def test_a_document_gets_more(change: Callable[..., Any]) -> None:
    before = {"same": 1, "on": False, "list": [1, 2], "below": {"same": 1}}
    after = {"same": 1, "on": True, "list": [1, 3, 2], "below": {"same": 1, "more": 2}}
    more = json.loads(change("ofDocument", before, after))
    assert more == {"on": True, "list": [3], "below": {"more": 2}}


@pytest.mark.parametrize(
    ("after", "said"),
    [({"list": [1, 2]}, "it loses below"), ({"list": [1], "below": {}}, "it: list loses")],
)
def test_nothing_of_a_document_is_taken_away(
    change: Callable[..., Any], after: object, said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        change("ofDocument", {"list": [1, 2], "below": {}}, after)


def test_a_machine_without_grafana_has_nothing_of_it(
    snapshot: Path, evaluate: Callable[..., Any], new_instance: Callable[..., Path], tmp_path: Path
) -> None:
    file = tmp_path / "plain.nix"
    file.write_text(
        f"""
        let
          of = grafana: (import {snapshot} {{
            instance = {new_instance("plain")};
            extraModules = [
              {snapshot}/modules/lib/everything.nix
              {snapshot}/tests/nix/sample.nix
              {{ agency.observability.grafana = grafana; }}
            ];
          }}).hosts.agency.config;
          facts = config: {{
            runs = config.services.grafana.enable;
            jobs = map (one: one.job_name) config.services.prometheus.scrapeConfigs;
            probes = builtins.attrNames config.agency.observability.probes;
            sites = builtins.attrNames config.agency.edge.sites;
            held = builtins.attrNames config.agency.heldPorts;
            stops = config.agency.backup.stops;
            stores = builtins.attrNames config.agency.backup.stores;
            client = config.agency.observability.oidc.enable;
            failing = builtins.length (builtins.filter (one: !one.assertion) config.assertions);
          }};
        in {{ without = facts (of false); whole = facts (of true); }}
        """
    )
    found = evaluate(file)
    without, whole = found["without"], found["whole"]
    assert (without["runs"], whole["runs"]) == (False, True)
    assert (without["client"], whole["client"]) == (False, True)
    assert without["failing"] == whole["failing"]
    for key in ("jobs", "probes", "sites", "held", "stores"):
        assert set(whole[key]) - set(without[key]) == {"grafana"}, key
    assert set(whole["stops"]) - set(without["stops"]) == {"grafana.service"}
