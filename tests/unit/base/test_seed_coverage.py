"""docs/seed-coverage.md: its counts are those of its rows, and the tests that it names exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "seed-coverage.md").read_text()
ROW = re.compile(r"^\| (\d{3})-\S+ \|.*?\| (DONE|PART|NONE) \| ?(.*?) ?\|$", re.MULTILINE)
COUNT = re.compile(r"^\| (\d{3}) [^|]+\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
NAMED = re.compile(r"\btest_[a-z0-9_]+")
TESTS = {path.stem for path in (ROOT / "tests").rglob("test_*.py")} | {
    name
    for path in (ROOT / "tests").rglob("*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text())
}


def test_counts_are_those_of_the_rows() -> None:
    found = Counter((seed, status) for seed, status, _ in ROW.findall(PAGE))
    counted = COUNT.findall(PAGE)
    assert len(counted) == 5
    for seed, rows, *by_status in counted:
        expected = [found[seed, status] for status in ("DONE", "PART", "NONE")]
        assert [int(number) for number in by_status] == expected, seed
        assert int(rows) == sum(expected)


@pytest.mark.parametrize("name", sorted(set(NAMED.findall(PAGE))))
def test_named_tests_exist(name: str) -> None:
    # A name may be shortened: test_acme...
    assert any(test.startswith(name) for test in TESTS)


def test_every_row_that_is_not_none_says_why() -> None:
    silent = [row for row in ROW.findall(PAGE) if row[1] != "NONE" and not row[2].strip()]
    assert silent == []
