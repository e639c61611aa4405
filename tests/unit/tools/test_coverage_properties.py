"""Coverage of the properties: which files count, where, and how the numbers are summed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import coverage_properties
import pytest
from coverage_properties import AREAS, PACKAGE, Reached, area_of, areas, main, table

ROOT = Path(__file__).resolve().parents[3]


def summary(lines: int, run: int, branches: int, taken: int) -> dict[str, Any]:
    counted = {"num_statements": lines, "covered_lines": run}
    return {"summary": {**counted, "num_branches": branches, "covered_branches": taken}}


def test_every_area_is_there() -> None:
    assert [place for place in AREAS.values() if not (ROOT / PACKAGE / place).is_dir()] == []


@pytest.mark.parametrize(
    ("path", "area"),
    [
        ("control/operations/queues.py", "operations"),
        ("control/operations/approving/rules.py", "approvals"),
        ("gosuto/decision.py", "gosuto"),
        ("cli.py", None),
        ("gosuto.py", None),
    ],
)
def test_the_most_special_area_counts_a_file(path: str, area: str | None) -> None:
    assert area_of(PACKAGE + path) == area


def test_files_are_summed_by_area_and_what_no_area_has_is_left_out() -> None:
    files = {
        "gosuto/a.py": summary(10, 5, 4, 1),
        "gosuto/b/c.py": summary(30, 15, 0, 0),
        "control/policy/x.py": summary(8, 8, 2, 2),
        "guests/x.py": summary(1000, 0, 0, 0),
    }
    rows = areas({"files": {PACKAGE + name: told for name, told in files.items()}})
    assert rows == [Reached("policy", 8, 8, 2, 2), Reached("gosuto", 40, 20, 4, 1)]
    assert table(rows).splitlines()[1:] == [
        "policy            8   100.0%         2   100.0%",
        "gosuto           40    50.0%         4    25.0%",
        "all              48    58.3%         6    50.0%",
    ]


@pytest.mark.parametrize(("pytest_status", "status"), [(0, 0), (1, 1), (2, 2), (5, 2)])
def test_the_status_is_that_of_the_properties(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pytest_status: int, status: int
) -> None:
    called: list[tuple[str, ...]] = []

    def coverage(*arguments: str) -> int:
        called.append(arguments)
        if arguments[0] == "run":
            return pytest_status
        Path(arguments[-1]).write_text(json.dumps({"files": {}}))
        return 0

    monkeypatch.setattr(coverage_properties, "coverage", coverage)
    monkeypatch.setattr(coverage_properties, "PLACE", tmp_path)
    assert main(["--json"]) == status
    assert ("--branch" in called[0], called[0][-1]) == (True, "tests/unit")
    assert coverage_properties.SELECTED in called[0]
