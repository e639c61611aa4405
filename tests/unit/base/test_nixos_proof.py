"""The page of what is proven of NixOS: a row for each finding, and tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/nixos-proof.md").read_text()
CASES = (ROOT / "tests/nix/assertions.nix").read_text()
# The review's own numbers: what breaks, what is wrong, a risk, or missing.
FINDINGS = {"B": 13, "W": 10, "R": 24, "M": 7}
STATES = ("mended", "declined", "documented", "kept", "panel removed", "open", "the rhythm")


def rows() -> list[list[str]]:
    table = PAGE.split("| no. | finding |")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines()[2:] if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield each test of a text as its file and its name; a name alone is of the file before it."""
    file = ""
    for path, name in re.findall(r"`(tests/[\w./-]+)?(?:::(\w+))?`", text):
        file = path or file
        if path or name:
            yield file, name


def missing(file: str, name: str) -> bool:
    path = ROOT / file
    if not path.exists():
        return True
    if not name:
        return False
    tree = ast.walk(ast.parse(path.read_text()))
    return name not in {
        node.name for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_finding_has_a_row_with_a_state() -> None:
    found = {number for row in rows() for number in re.findall(r"[BWRM]\d+", row[0])}
    assert found == {f"{kind}{one + 1}" for kind, count in FINDINGS.items() for one in range(count)}
    assert [row for row in rows() if len(row) != 4 or not row[2].startswith(STATES)] == []


def test_what_is_mended_names_a_test() -> None:
    untested = [
        row[0]
        for row in rows()
        if row[2].startswith("mended")
        and not re.search(r"`(tests/|make test-|::)|^cases? ", row[3])
    ]
    assert untested == ["W5"], "a sentence of the guide, which no test reads"


def test_every_test_and_case_exists() -> None:
    named = list(names_in(PAGE))
    assert len(named) > 80
    assert [one for one in named if missing(*one)] == []
    told = re.findall(
        r"\bcases? ([a-z0-9-]+(?:, [a-z0-9-]+)*)", "\n".join(row[3] for row in rows())
    )
    told += re.findall(r"test_assertions.py` \(([a-z0-9, -]+)\)", PAGE)
    cases = {case for group in told for case in group.split(", ")}
    assert len(cases) > 10
    assert [case for case in cases if f"\n  {case} = {{" not in CASES] == []


def test_a_name_that_is_none_is_found() -> None:
    text = "`tests/unit/base/test_nixos_proof.py::rows`, `::gone` and `tests/unit/base/gone.py`"
    assert [missing(*one) for one in names_in(text)] == [False, True, True]
