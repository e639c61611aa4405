"""Write what is made from the claims of tests/guest, or with --check say whether it is current.

markers of tests/guest --> claims.json of the rules' draft (no name of a test stands in it)
                      \\-> the table of claims in docs/isolation.md
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agency.transcript.versions import CURRENT

if TYPE_CHECKING:
    from claim import Claim

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests/guest"
RULES = ROOT / "pyscripts/agency/transcript/rules" / CURRENT.name / "claims.json"
PAGE = ROOT / "docs/isolation.md"
BEGIN = "<!-- claims: written by tools/docgen/claims.py -->\n"
END = "<!-- end of claims -->\n"


@dataclass(frozen=True, slots=True)
class Carried:
    """A claim, as its marker describes it, and a test that carries it."""

    claim: Claim  # of tests/guest/claim.py
    test: str  # file::function


class Collector:
    """Plugin of pytest that keeps the claim of every collected test."""

    def __init__(self) -> None:
        self.carried: list[Carried] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Read the markers."""
        from claim import claim_of  # of tests/guest, which pytest puts on the path

        for item in session.items:
            path = item.path.relative_to(ROOT)
            claim = claim_of(item)
            name = getattr(item, "originalname", item.name)
            self.carried.append(Carried(claim, f"{path}::{name}"))


def collected() -> list[Carried]:
    """Return the claims of all tests, without asking any machine."""
    collector = Collector()
    options = [
        "--collect-only",
        "-qq",
        "--no-summary",
        "-p",
        "no:cacheprovider",
        f"--rootdir={ROOT}",
    ]
    argv = [str(SUITE), "--guest-host", "ssh:nobody@host.invalid", *options]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = pytest.main(argv, plugins=[collector])
    if status != pytest.ExitCode.OK or not collector.carried:
        sys.exit(f"the tests of the suite cannot be collected:\n{said.getvalue()}")
    return collector.carried


def by_id(carried: Iterable[Carried]) -> dict[str, tuple[Claim, list[str]]]:
    """Return each claim with the tests that carry it, in order; they must describe it alike."""
    found: dict[str, tuple[Claim, list[str]]] = {}
    for one in carried:
        claim, tests = found.setdefault(one.claim.id, (one.claim, []))
        if claim != one.claim:
            sys.exit(f"{one.test} describes its claim otherwise than {tests[0]}: {one.claim}")
        if one.test not in tests:
            tests.append(one.test)
    return dict(sorted(found.items()))


def rules_text(claims: Mapping[str, tuple[Claim, list[str]]]) -> str:
    """Return claims.json: one line a claim."""
    lines = []
    for name, (claim, _) in claims.items():
        entry = {"disturbs": claim.disturbs, "skips": [asdict(skip) for skip in claim.may_skip]}
        lines.append(f" {json.dumps(name)}: {json.dumps(entry)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def table(claims: Mapping[str, tuple[Claim, list[str]]]) -> str:
    """Return the table of docs/isolation.md: one line a claim."""
    lines = ["| promise | claim | kind | shown by |", "|---|---|---|---|"]
    for name, (claim, tests) in sorted(
        claims.items(), key=lambda entry: (entry[1][0].promise, entry[1][0].control, entry[0])
    ):
        kind = "control" if claim.control else "promised"
        shown = ", ".join(f"`{test}`" for test in tests)
        lines.append(f"| `{claim.promise}` | `{name}` | {kind} | {shown} |")
    return "\n".join(lines) + "\n"


def page_text(page: str, claims: Mapping[str, tuple[Claim, list[str]]]) -> str:
    """Return the page with its table written anew."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE.relative_to(ROOT)} has no place for the claims: {BEGIN.strip()}")
    return f"{head}{BEGIN}\n{table(claims)}\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: claims.py [--check]\n")
        return 2
    if not CURRENT.draft:
        sys.stderr.write(f"{CURRENT.name} is released and keeps its claims: make a draft first\n")
        return 1
    claims = by_id(collected())
    wanted = {RULES: rules_text(claims), PAGE: page_text(PAGE.read_text(), claims)}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if arguments:
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale; run: python {sys.argv[0]}\n")
        else:
            path.write_text(wanted[path])
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
