"""The marker of a claim: what it must say, that the suite reports it, and what is made from it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
from claim import Claim, absent, claim_of

from agency.spinup.suite.runner import Findings, read_report

ROOT = Path(__file__).resolve().parents[3]
GENERATOR = ROOT / "tools" / "docgen" / "claims.py"
CLAIM = Claim("memory-of-another", "own-processes", disturbs=True)


@dataclass
class Carried:
    """A marker, as pytest gives it."""

    args: tuple[object, ...]
    kwargs: dict[str, object]


class Item:
    """A test, as pytest gives it."""

    nodeid = "test_a.py::test_it"

    def __init__(self, carried: list[Carried]) -> None:
        self._carried = carried

    def iter_markers(self, name: str) -> list[Carried]:
        assert name == "claim"
        return self._carried


def marks(*arguments: object, **named: object) -> list[Carried]:
    return [Carried(arguments, named)]


def test_a_marker_is_read():
    assert claim_of(Item(marks(CLAIM.id, CLAIM.promise, disturbs=True))) == CLAIM


@pytest.mark.parametrize(
    ("carried", "words"),
    [
        ([], "carries 0 claims"),
        (marks("a", "b", disturbs=True) * 2, "carries 2 claims"),
        (marks("a", "b"), "disturbs"),
        (marks("a", disturbs=True), "promise"),
        (marks("a", "b", disturbs=True, mandatory=False), "mandatory"),
        (marks("test_ports.py::test_it", "b", disturbs=True), "lower-case words"),
        (marks("a", "Own Processes", disturbs=True), "lower-case words"),
        (marks("a-", "b", disturbs=True), "lower-case words"),
    ],
)
def test_a_marker_that_says_too_little_or_too_much_is_refused(carried, words):
    with pytest.raises(pytest.UsageError, match=words):
        claim_of(Item(carried))


def ran(directory: Path, text: str) -> tuple[int, str, Findings | None]:
    """How pytest ended on these tests with the suite's conftest, what it said and reported."""
    for name in ("conftest.py", "claim.py", "channel.py"):
        shutil.copy(ROOT / "tests" / "guest" / name, directory)
    (directory / "test_it.py").write_text(f"import pytest\n{text}")
    report = directory / "report.xml"
    argv = [sys.executable, "-m", "pytest", str(directory), "-q", "-p", "no:cacheprovider"]
    argv += ["--guest-host", "ssh:nobody@host.invalid", f"--junitxml={report}"]
    argv += [
        f"--override-ini=pythonpath={directory}",
        f"--rootdir={directory}",
        "--override-ini",
        "junit_family=xunit1",
        "-c",
        "/dev/null",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    found = read_report(report.read_bytes()) if report.exists() else None
    return done.returncode, done.stdout + done.stderr, found


GOOD = """
@pytest.mark.claim("memory-of-another", "own-processes", disturbs=True)
@pytest.mark.parametrize("place", ["/run", "/srv"])
def test_places(place):
    if place == "/srv":
        pytest.skip("there is no /srv on this machine")
"""
BARE = "\ndef test_bare():\n    pass\n"


def test_the_report_names_the_claim_and_the_case_of_each_test(tmp_path):
    status, said, found = ran(tmp_path, GOOD)
    assert status == 0, said
    assert found is not None
    shown = [(f.claim, f.case, f.outcome, f.message) for f in found.all]
    assert shown == [
        ("memory-of-another", "/run", "passed", None),
        ("memory-of-another", "/srv", "skipped", "there is no /srv on this machine"),
    ]


def test_a_suite_with_a_test_without_a_claim_does_not_run(tmp_path):
    status, said, found = ran(tmp_path, GOOD + BARE)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "test_bare" in said
    assert "carries 0 claims" in said
    assert found is None or found.all == ()


@pytest.fixture(scope="module")
def docgen() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docgen_claims", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_test_that_is_renamed_changes_the_page_and_no_rule(docgen):
    before, after = (
        docgen.by_id([docgen.Carried(CLAIM, f"tests/guest/test_a.py::{name}")])
        for name in ("test_it", "test_the_same")
    )
    assert docgen.rules_text(before) == docgen.rules_text(after)
    assert docgen.table(before) != docgen.table(after)
    assert "test_it" not in docgen.rules_text(before)


def test_what_a_marker_says_is_in_the_rules(docgen):
    skipped = replace(CLAIM, may_skip=(absent("/opt"),))
    text = docgen.rules_text(docgen.by_id([docgen.Carried(skipped, "a.py::test_it")]))
    assert json.loads(text) == {
        "memory-of-another": {
            "disturbs": True,
            "skips": [
                {
                    "reason": "there is no /opt on this machine",
                    "case": "/opt",
                    "image": ["system", "nixos"],
                    "guest": True,
                }
            ],
        }
    }


def test_tests_of_one_claim_stand_in_one_line_and_must_agree(docgen):
    first, second = (docgen.Carried(CLAIM, f"a.py::test_{name}") for name in ("one", "two"))
    together = docgen.by_id([first, second, first])
    assert together == {CLAIM.id: (CLAIM, ["a.py::test_one", "a.py::test_two"])}
    assert docgen.table(together).count(CLAIM.id) == 1
    other = docgen.Carried(replace(CLAIM, disturbs=False), "a.py::test_three")
    with pytest.raises(SystemExit, match="otherwise than"):
        docgen.by_id([first, other])


def test_a_page_without_a_place_for_the_table_is_refused(docgen):
    claims = docgen.by_id([docgen.Carried(CLAIM, "a.py::test_it")])
    page = f"before\n{docgen.BEGIN}old\n{docgen.END}after\n"
    written = docgen.page_text(page, claims)
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert docgen.page_text(written, claims) == written
    with pytest.raises(SystemExit, match="no place"):
        docgen.page_text("before\nafter\n", claims)
