"""The isolation model: promises, the claims that the suite's tests carry, words of skips."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agency.transcript.rules.v2.suite import CLAIMS

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
GENERATOR = ROOT / "tools" / "docgen" / "claims.py"
TEST = re.compile(r"`(tests/guest/test_\w+\.py)::(test_\w+)`")
MAX_CELL = 300


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = (DOCS / "isolation.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [cells(line) for line in text.splitlines() if line.startswith("| ")][1:]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def promises() -> list[str]:
    return [row[0].strip("`") for row in rows("Promises")]


def test_the_claims_of_rules_and_page_are_those_of_the_tests():
    argv = [sys.executable, str(GENERATOR), "--check"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), "run: python tools/docgen/claims.py"


@pytest.mark.parametrize("promise", promises())
def test_every_promise_says_how_and_has_claims_of_both_kinds(promise):
    (said,) = [row for row in rows("Promises") if row[0] == f"`{promise}`"]
    assert all(said)
    kinds = {row[2] for row in rows("Claims") if row[0] == f"`{promise}`"}
    assert kinds == {"promised", "control"}


def test_every_claim_is_of_a_promise_and_in_one_line():
    found = rows("Claims")
    assert len(promises()) == len({*promises()}) >= 15
    assert {row[0].strip("`") for row in found} == {*promises()}
    assert sorted(row[1].strip("`") for row in found) == sorted(CLAIMS)
    for row in found:
        assert TEST.search(row[3]), row


def test_no_name_of_a_test_is_in_the_rules():
    """Renaming one must not change what a transcript means."""
    known = {name for row in rows("Claims") for _, name in TEST.findall(row[3])}
    assert "test_nothing_leads_out" in known
    rules = ROOT / "pyscripts" / "agency" / "transcript" / "rules" / "v2"
    text = "\n".join(path.read_text() for path in rules.iterdir() if path.is_file())
    assert [name for name in known if name in text] == []
    assert not re.search(r"\btest_\w+\.py", text)


@pytest.mark.parametrize("page", ["isolation.md", "threat-model.md"])
def test_no_cell_of_a_table_is_too_long_to_read(page):
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("|")]
    found = {cell: len(cell) for line in lines for cell in cells(line)}
    assert len(found) > 20
    assert {cell: size for cell, size in found.items() if size > MAX_CELL} == {}


def skips() -> list[tuple[str, str]]:
    """What each pytest.skip of the suite is given, by file."""
    return [
        (path.name, ast.unparse(node.args[0]))
        for path in sorted((ROOT / "tests" / "guest").glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.skip"
    ]


def test_tests_are_left_out_in_the_words_of_their_markers():
    """But for what no rule allows, which thus fails a spin-up."""
    others = [(file, words) for file, words in skips() if not words.endswith(".reason")]
    assert others == [("test_egress.py", "'this machine allows no network namespaces'")]
    allowed = {skip.reason for known in CLAIMS.values() for skip in known.skips}
    assert not [words for _, words in others if ast.literal_eval(words) in allowed]
