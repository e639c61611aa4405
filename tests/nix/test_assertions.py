"""Every assertion of the modules fires, is the only one that does, and says what to do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = ROOT / "modules"
# Modules by their place below modules/, hosts by theirs in the checkout.
SOURCES = [(path, path.relative_to(MODULES)) for path in MODULES.rglob("*.nix")] + [
    (path, path.relative_to(ROOT)) for path in (ROOT / "hosts").rglob("*.nix")
]
CASES = re.findall(r"^  ([a-z][a-z0-9-]*) = \{$", (HERE / "assertions.nix").read_text(), re.M)


@pytest.mark.parametrize("case", CASES)
def test_it_fires_alone(report: dict[str, Any], case: str) -> None:
    one = report["assertions"][case]
    assert len(one["fired"]) == 1, one["fired"]
    assert one["says"] in one["fired"][0]


@pytest.mark.parametrize("case", CASES)
def test_it_says_how_to_mend_it(report: dict[str, Any], case: str) -> None:
    message = report["assertions"][case]["fired"][0].strip()
    wrong, *mending = message.splitlines()
    assert wrong.startswith("agency")
    assert mending
    assert re.match(r"[A-Z][a-z]+ ", mending[0])


def test_every_assertion_of_the_modules_has_its_case(report: dict[str, Any]) -> None:
    written = {}
    for path, name in SOURCES:
        if path.is_relative_to(MODULES / "lib"):
            continue
        source = path.read_text()
        # A list of assertions made by `forEach` has one message each as well.
        count = len(re.findall(r"assertion\s*=\s", source)) + len(
            re.findall(r"\+\+ forEach|=\n\s+forEach", source)
        )
        count -= len(re.findall(r"assertion = condition secret", source))
        if count:
            written[name.as_posix()] = count
    proven = Counter(one["file"] for one in report["assertions"].values() if not one["further"])
    assert proven == written
