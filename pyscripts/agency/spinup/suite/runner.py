"""Running the suite that looks at a machine from inside (tests/guest), and what it found."""

from __future__ import annotations

import asyncio
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agency.children import ChildSpec, start_child
from agency.instance import ResolvedAgent
from agency.machine import Machine, MachineError
from agency.rundir import RunDirectory

_LOG_LINES = 40
_LOG_BYTES = 64 * 1024
_STOP_S = 10.0
_MAX_MESSAGE = 500
# pytest's own exit statuses: all passed, and some failed. Others mean that it did not run well.
_SOME_FAILED = 1
_RAN = (0, _SOME_FAILED)
_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}
_WORST = ("passed", "skipped", "failed", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """One test and how it ended: "passed", "failed", "error" or "skipped"."""

    claim: str  # the id of the claim that the test shows; empty where it names none
    case: str | None  # the parameters that it ran with
    name: str  # file::test
    outcome: str
    seconds: float
    message: str | None


@dataclass(frozen=True, slots=True)
class Findings:
    """Every test of a run of the suite."""

    all: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of tests by outcome."""
        return dict(Counter(finding.outcome for finding in self.all))

    def as_dict(self) -> dict[str, object]:
        """Describe the findings as a transcript holds them."""
        return {"counts": self.counts, "tests": [asdict(finding) for finding in self.all]}

    @property
    def ok(self) -> bool:
        """True if tests passed and none failed; skipped ones do not count as bad."""
        counts = self.counts
        return counts.get("passed", 0) > 0 and not counts.get("failed") and not counts.get("error")


async def run_suite(
    machine: Machine,
    suite: Path,
    directory: RunDirectory,
    *,
    timeout_s: float,
    agents: Iterable[ResolvedAgent],
    read_only: bool = False,
) -> Findings:
    """Run the suite of a checkout against a machine; logs and report go to the run's directory.

    It must be there, see `require_suite`. `agents` are those of the instance, whose uids the suite
    expects. With `read_only`, tests that disturb the machine are left out.

    Raises:
        MachineError: the suite did not run to its end.
    """
    guest_host, environment = machine.suite_host()
    report = directory.path / "suite.xml"
    argv = (
        *(sys.executable, "-m", "pytest", str(suite), "--quiet", "-p", "no:cacheprovider"),
        *("--guest-host", guest_host, f"--junitxml={report}"),
        *(f"--agent-uid={agent.name}={agent.uid}" for agent in agents),
        *("--override-ini", "junit_family=xunit1"),
        # The suite generates nothing; loading what would takes longer than many of its tests.
        *("-p", "no:hypothesispytest"),
        *(("--read-only",) if read_only else ()),
    )
    ours = {
        # The client of Incus keeps a configuration; it is the run's own.
        "INCUS_CONF": str(directory.path / "incus-client"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = directory.path / "suite.log"
    # The configuration of pytest is the checkout's; it is found from the working directory.
    spec = ChildSpec(
        "suite", argv, {**ours, **_python_path(), **environment}, suite.parents[1], log
    )
    child = await start_child(spec, marker=directory.run)
    try:
        async with asyncio.timeout(timeout_s):
            status: int | None = await child.wait()
    except TimeoutError:
        status = None
    finally:
        await child.stop(_STOP_S)
    problem, findings = _judged(status, timeout_s, report)
    if problem is not None:
        raise MachineError(
            f"the suite {problem}",
            where=guest_host,
            hint="install the requirements for development (requirements/dev.txt)",
            log_tail=child.log_tail(_LOG_LINES, _LOG_BYTES),
        )
    return findings


def _judged(status: int | None, timeout_s: float, report: Path) -> tuple[str | None, Findings]:
    """Read the findings of a run that ended so, with its problem or None."""
    nothing = Findings(())
    if status is None:
        return f"did not end within {timeout_s:g} s", nothing
    if status not in _RAN or not report.exists():
        return f"ended with {status}", nothing
    findings = read_report(report.read_bytes())
    return disagreement(status, findings), findings


def disagreement(status: int, findings: Findings) -> str | None:
    """Return how pytest's exit status and its report disagree, or None."""
    failed = bool({"failed", "error"} & findings.counts.keys())
    if (status == _SOME_FAILED) != failed:
        return f"ended with {status}, and its report names {'a' if failed else 'no'} failure"
    return None


def _python_path() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": path} if path else {}


def read_report(document: bytes) -> Findings:
    """Read a JUnit report that pytest wrote."""
    root = ET.fromstring(document)  # noqa: S314 - written by our own pytest a moment ago
    return Findings(tuple(_finding(case) for case in root.iter("testcase")))


def _finding(case: ET.Element) -> Finding:
    """Read one test at its worst: one that was left out may still fail at its end."""
    file = Path(case.get("file") or case.get("classname", "").replace(".", "/")).name
    name = f"{file}::{case.get('name', '')}"
    said = [(_outcome(part), part.get("message")) for part in case if part.tag in _OUTCOMES]
    outcome, message = max(said, key=lambda one: _WORST.index(one[0]), default=("passed", None))
    carried = {part.get("name"): part.get("value", "") for part in case.iter("property")}
    return Finding(
        carried.get("claim", ""),
        carried.get("case"),
        name,
        outcome,
        _seconds(case),
        (message or "")[:_MAX_MESSAGE] or None,
    )


def _outcome(part: ET.Element) -> str:
    """Read how a part ended; a failure that was expected is one."""
    return "failed" if part.get("type") == "pytest.xfail" else _OUTCOMES[part.tag]


def _seconds(case: ET.Element) -> float:
    return round(float(case.get("time", "0")), 3)
