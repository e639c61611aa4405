"""The isolation model names, for each claim, tests that exist: of what is allowed and refused."""

import ast
import re
from pathlib import Path

import pytest

from agency.transcript.rules.v2.features import FEATURES
from agency.transcript.rules.v2.suite import REFUSED_DISTURBING, REFUSED_READ_ONLY, SKIPS

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "isolation.md"
TEST = re.compile(r"`(tests/guest/test_\w+\.py)::(test_\w+)`")


def claims() -> dict[str, list[str]]:
    """The table of claims: the rest of each row by its first column."""
    table = PAGE.read_text().split("## Claims")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows[1:]}


def existing() -> set[tuple[str, str]]:
    return {
        (f"tests/guest/{file.name}", node.name)
        for file in (ROOT / "tests" / "guest").glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("claim", claims())
def test_every_claim_says_how_and_names_what_shows_it(claim):
    how, allowed, refused = claims()[claim]
    assert how
    assert TEST.search(allowed), "no test of what is allowed"
    assert TEST.search(refused), "no test of what is refused"


def test_the_claims_are_found():
    assert len(claims()) >= 15


def test_every_test_that_is_named_exists():
    named = set(TEST.findall(PAGE.read_text()))
    assert named
    assert named <= existing()


def test_every_feature_is_behind_a_claim():
    named = {Path(file).stem for file, _ in TEST.findall(PAGE.read_text())}
    assert named == {*FEATURES}


def test_a_test_that_is_not_there_would_be_noticed():
    assert ("tests/guest/test_egress.py", "test_no_such_test") not in existing()


def refused() -> set[str]:
    """The tests of what is refused, as file::test."""
    found = {test for cells in claims().values() for test in TEST.findall(cells[2])}
    return {f"{Path(file).name}::{name}" for file, name in found}


def test_every_refusal_is_one_that_a_transcript_must_show():
    """Add what is missing to agency.transcript.rules.v2.suite."""
    assert {*REFUSED_READ_ONLY, *REFUSED_DISTURBING} == refused()
    assert len(refused()) == len(REFUSED_READ_ONLY) + len(REFUSED_DISTURBING)


def test_what_may_be_left_out_is_left_out_in_these_words():
    """Each test that a machine may not be able to show exists, and says so itself."""
    for name, skip in SKIPS.items():
        file, function = name.partition("[")[0].split("::")
        assert (f"tests/guest/{file}", function) in existing()
        text = (ROOT / "tests" / "guest" / file).read_text()
        param = name.partition("[")[2].removesuffix("]")
        said = re.sub(r"\{\w+\}", param, text)  # where the test says what it was run with
        assert re.search(rf'pytest\.skip\(f?"{re.escape(skip.reason)}"\)', said), name
