"""Runner of the checks: independent of one another, all within one time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from agency.doctor.finding import Check, Finding, Subject, bad
from agency.errors import AgencyError

LIMIT_S = 40.0


def run_checks(
    checks: Sequence[Check], subject: Subject, *, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Run every check at the same time; return the findings in the order of the checks.

    A check that fails or does not answer in time is a finding itself.
    """
    found: list[list[Finding]] = [[] for _ in checks]
    # Daemons: one that hangs in the kernel, on a dead network mount, must not hold the program.
    threads = [
        threading.Thread(target=_run, args=(check, subject, found[place]), daemon=True)
        for place, check in enumerate(checks)
    ]
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.start()
    answers = []
    for check, thread, findings in zip(checks, threads, found, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        answers += list(findings)
        if thread.is_alive():
            answers.append(
                bad(
                    check.name,
                    f"gave no answer in {limit_s:g} s",
                    "look whether a disk, a network mount or a program on PATH hangs",
                )
            )
    return answers


def _run(check: Check, subject: Subject, findings: list[Finding]) -> None:
    try:
        for one in check.look(subject):
            findings.append(one)  # noqa: PERF402 - what came before a failure counts
    except AgencyError as error:
        where = error.where or check.name
        findings.append(bad(where, error.message, error.hint or "see the message"))
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        told = f"the check failed: {type(error).__name__}: {error}"
        findings.append(bad(check.name, told, "this is a defect; report it"))
