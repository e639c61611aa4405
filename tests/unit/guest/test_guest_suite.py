"""The suite that is run in guests: what must be in it, and what it leaves out where it may not."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agency.transcript.rules.v2 import judge
from agency.transcript.rules.v2.suite import CLAIMS, READ_ONLY

ROOT = Path(__file__).resolve().parents[3]
SUITE = ROOT / "tests" / "guest"
# Fixtures that start, stop or make something on the machine.
DISTURBING = {
    *("started", "running", "inside", "attempted", "open_places", "killed", "run_in_slice"),
    *("outside", "declared", "serve", "free"),
}
# And what a test does so by itself.
WORDS = (
    *("kill -", "systemd-run", "systemctl start", "systemctl stop", "systemctl restart"),
    *("install -", "touch ", "rm -", "mkdir", "echo hello >", "ip netns", "nft add", "StopUnit"),
)


def collected(*options: str) -> list[str]:
    """The tests that pytest would run, without asking the machine for anything.

    As file::test, which is what a transcript has; a class only shares a fixture.
    """
    argv = [sys.executable, "-m", "pytest", str(SUITE), "--collect-only", "-q", "-p"]
    argv += ["no:cacheprovider", "--guest-host", "ssh:nobody@host.invalid", *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.removeprefix("tests/guest/") for line in done.stdout.splitlines() if "::" in line]
    return [re.sub(r"\.py::Test\w+::", ".py::", name) for name in found]


def functions() -> dict[str, ast.FunctionDef]:
    """Every test and fixture of the suite, by file::name."""
    found = {}
    for file in sorted(SUITE.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                found[f"{file.name}::{node.name}"] = node
    return found


def words_in(function: ast.FunctionDef) -> list[str]:
    text = ast.unparse(function)
    return [word for word in WORDS if re.search(rf"\b{re.escape(word)}", text)]


@pytest.fixture(scope="module")
def everything() -> list[str]:
    return collected()


@pytest.fixture(scope="module")
def harmless() -> list[str]:
    return collected("--read-only")


def test_every_file_says_what_it_promises():
    for path in SUITE.glob("test_*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path.name


def test_read_only_leaves_out_what_disturbs(everything, harmless):
    left_out = {*everything} - {*harmless}
    assert {*harmless} < {*everything}
    for name in (
        "test_limits.py::test_a_memory_hog_dies_in_its_slice_and_others_live",
        "test_recovery.py::test_the_audit_log_survives",
        "test_egress.py::test_undeclared_egress_is_refused",
        "test_polkit.py::test_it_stops_starts_and_restarts_an_agent",
        "test_agents_users.py::test_another_agents_files_are_out_of_reach",
    ):
        assert name in left_out
    for name in (
        "test_units.py::test_every_own_unit_is_hardened",
        "test_agents_users.py::test_homes_are_closed",
        "test_secrets.py::test_no_agent_reads_a_secret",
        "test_system.py::test_nothing_has_failed",
    ):
        assert name in harmless


@pytest.fixture(scope="module")
def carried() -> dict[str, str]:
    """The claim of each test, by file::function."""
    found = {}
    for name, function in functions().items():
        for mark in map(ast.unparse, function.decorator_list):
            if claim := re.match(r"pytest\.mark\.claim\('([^']+)'", mark):
                found[name] = claim[1]
    return found


def test_the_claims_that_a_host_at_work_must_show_are_left_in(everything, harmless, carried):
    def claims(names):
        return {carried[name.partition("[")[0]] for name in names}

    assert claims(everything) == {*CLAIMS}
    assert claims(harmless) == {*READ_ONLY}
    assert claims({*everything} - {*harmless}) == {*CLAIMS} - {*READ_ONLY}


def test_a_suite_that_ran_holds_and_one_that_left_out_does_not(everything, harmless, carried):
    """By the tests that it really has."""
    (guest, host) = (judge.PROBES[name] for name in ("suite.results", "suite.host"))
    tests = [
        {
            "claim": carried[name.partition("[")[0]],
            "case": name.partition("[")[2].removesuffix("]") or None,
            "name": name,
            "outcome": "passed",
            "message": None,
        }
        for name in everything
    ]
    assert guest.judge({"tests": tests}).ok
    looked = [test for test in tests if test["name"] in harmless]
    assert host.judge({"readOnly": True, "tests": looked}).ok
    assert not host.judge({"readOnly": False, "tests": looked}).ok
    assert not host.judge({"readOnly": True, "tests": tests}).ok
    for test in tests:
        left_out = [other for other in tests if other is not test]
        skipped = {**test, "outcome": "skipped", "message": "did not feel like it"}
        assert not guest.judge({"tests": [*left_out, skipped]}).ok


def test_every_case_that_may_be_left_out_is_in_the_suite(everything, carried):
    cases = {(carried[name.partition("[")[0]], name.partition("[")[2][:-1]) for name in everything}
    may = {(claim, skip.case) for claim, known in CLAIMS.items() for skip in known.skips}
    assert {one for one in may if one[1] is not None} <= cases
    assert ("system-read-only", "/run") in may


def test_nothing_that_read_only_keeps_disturbs(harmless):
    """By what it uses: fixtures that start things, and programs that change them."""
    suite = functions()
    names = {name.split("[")[0] for name in harmless}
    assert names <= suite.keys()
    for name in names:
        used = {argument.arg for argument in suite[name].args.args}
        assert not used & DISTURBING, name
        assert not words_in(suite[name]), name


def test_what_disturbs_would_be_noticed():
    suite = functions()
    recovery = suite["test_recovery.py::test_the_audit_log_survives"]
    assert {argument.arg for argument in recovery.args.args} & DISTURBING
    assert words_in(suite["test_agents_users.py::test_its_own_files_are_its_own"])


def test_without_a_machine_nothing_is_collected():
    argv = [sys.executable, "-m", "pytest", str(SUITE), "--collect-only", "-q"]
    environ = {key: value for key, value in os.environ.items() if key != "AGENCY_GUEST_HOST"}
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60, env=environ)
    assert done.returncode == 5
    assert b"no tests" in done.stdout
