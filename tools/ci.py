"""Runner of every suite that this machine can run, in order; called by `.ci/run`.

A suite that cannot run is SKIPPED, with its reason. If one fails, the others still run, and the end
of the output names it. Each has a budget (docs/numbers.md), printed beside its time; a suite that
takes more than one and a half times its budget is named as a defect.

Standard library only: it runs before set-up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import build_cache
from gitea import BUILD as GITEA_BUILD
from s3_server import BUILD as S3_BUILD
from setup import SOPS_BUILD, TOOLS

ROOT = Path(__file__).resolve().parent.parent
MINUTE_S = 60.0
# For all suites, on a machine with warm caches.
BUDGET_MIN = 55
DEFECT = 1.5
# No suite begins after minute LAST_BEGIN_MIN. At minute END_MIN the running suite is ended, so that
# the result is printed before the machine's own limit of 90 minutes.
LAST_BEGIN_MIN = 75
END_MIN = 87
END_GRACE_S = 20.0


@dataclass(frozen=True)
class Suite:
    """One row of the table: the commands of a suite, its budget, and its needs.

    Attributes:
        builds: Programs that take long to build; the suite is skipped if the cache lacks one.
        root: The reason why the suite needs root, if it does.
    """

    name: str
    budget_min: int
    commands: tuple[tuple[str, ...], ...]
    root: str | None = None
    builds: tuple[build_cache.Build, ...] = ()


def made(target: str, *settings: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands of a suite that is one target of the Makefile."""
    return (("make", target, *settings),)


VERIFY = (
    *(".venv/bin/agency", "transcript", "verify", "artifacts/boot_transcript.json"),
    *("--key", "artifacts/boot_transcript.pub", "--source", ".", "--target", "local"),
    *("--require-gate", "hermetic", "--require-gate", "control", "--max-age", "1h"),
)
# The limits hold for an idle machine, and this one may be shared. A number that misses its limit by
# less than this factor is still named.
SLACK = "SLACK=1.4"
# A minute is what `make bench` takes for each half of the sustained numbers.
BENCH_SECONDS = "BENCH_SECONDS=10"

SUITES = (
    Suite("set-up", 2, (("make", "setup-dev", "setup-tools"),)),
    Suite("make test", 14, made("test")),
    Suite("make spinup", 1, (*made("spinup"), VERIFY)),
    Suite("make bench", 4, made("bench", SLACK, BENCH_SECONDS)),
    Suite("make test-docker", 5, made("test-docker"), root="to start a Docker Engine"),
    Suite(
        "make test-recipes-way",
        2,
        made("test-recipes-way"),
        root="to start a Docker Engine",
        builds=(GITEA_BUILD,),
    ),
    Suite("make test-forge", 2, made("test-forge"), builds=(GITEA_BUILD,)),
    Suite("make test-s3", 1, made("test-s3"), builds=(S3_BUILD,)),
    Suite("make test-agents-own", 1, made("test-agents-own")),
    Suite("make test-agents-browser", 1, made("test-agents-browser"), root="to install a browser"),
    Suite("make test-pages", 1, made("test-pages"), root="to install a browser"),
    Suite(
        "make test-guest", 14, made("test-guest"), root="to start Incus", builds=(SOPS_BUILD,)
    ),
    Suite(
        *("make bench-guest", 3, made("bench-guest", SLACK)),
        root="to start Incus",
        builds=(SOPS_BUILD,),
    ),
    Suite("make check-nix", 4, made("check-nix")),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Result of a suite. `took_s` is None if it was skipped."""

    suite: Suite
    took_s: float | None
    failure: str | None = None
    skipped: str | None = None

    @property
    def is_late(self) -> bool:
        """True if the suite took more than one and a half times its budget."""
        limit_s = self.suite.budget_min * MINUTE_S * DEFECT
        return self.took_s is not None and self.took_s > limit_s

    def line(self) -> str:
        """Return the result as one line."""
        if self.took_s is None:
            return f"{self.suite.name} SKIPPED: {self.skipped}"
        outcome = f"FAILED ({self.failure})" if self.failure else "passed"
        late = ", DEFECT: more than half above its budget" if self.is_late else ""
        return f"{self.suite.name} {outcome}, {beside(self.took_s, self.suite.budget_min)}{late}"


def beside(took_s: float, budget_min: int) -> str:
    """Format a time with its budget."""
    return f"took {took_s / MINUTE_S:.1f} min of {budget_min}"


def say(text: str) -> None:
    """Print a line at once, between the lines of the suites."""
    print(text, flush=True)  # noqa: T201 - there is no rich yet


def is_built(build: build_cache.Build) -> bool:
    """Return whether no build is needed: the program is on PATH, in the checkout or cached."""
    here = shutil.which(build.name) or (TOOLS / "bin" / build.name).exists()
    return bool(here) or build_cache.find(build, build_cache.cache_directory()) is not None


def why_not(suite: Suite, elapsed_s: float) -> str | None:
    """Return the reason why a suite cannot run now; None if it can."""
    if suite.root is not None and os.geteuid() != 0:
        return f"needs root {suite.root}"
    if elapsed_s > LAST_BEGIN_MIN * MINUTE_S:
        return f"it is minute {elapsed_s / MINUTE_S:.0f}; none begins after minute {LAST_BEGIN_MIN}"
    for build in suite.builds:
        if not is_built(build):
            return (
                f"{build.name} {build.version} is not in the cache, and building it takes "
                f"{build.takes}: `make {build.target}` does so"
            )
    return None


def run(argv: tuple[str, ...], until: float) -> str | None:
    """Run one command until its end or the time `until`; returns the failure, if any."""
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        end(process)
        return f"ended at minute {END_MIN}"
    except BaseException:
        end(process)
        raise
    return f"exit status {status}" if status else None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and its process group: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_GRACE_S)


def result_of(suite: Suite, begun: float) -> Result:
    """Run one suite, or give the reason to skip it; `begun` is the start of the whole run."""
    started = time.monotonic()
    skipped = why_not(suite, started - begun)
    if skipped is not None:
        return Result(suite, None, skipped=skipped)
    say(f"\n== {suite.name} (budget {suite.budget_min} min)")
    failure = None
    for argv in suite.commands:
        failure = run(argv, begun + END_MIN * MINUTE_S)
        if failure is not None:
            break
    return Result(suite, time.monotonic() - started, failure)


def main(suites: tuple[Suite, ...] = SUITES) -> int:
    """Run all suites; return the exit status."""
    begun = time.monotonic()
    results = []
    for suite in suites:
        results.append(result_of(suite, begun))
        say(f"== {results[-1].line()}")
    say("\n== all suites")
    for result in results:
        say(result.line())
    say(f"all suites {beside(time.monotonic() - begun, BUDGET_MIN)}")
    failed = [result.suite.name for result in results if result.failure is not None]
    for name in failed:
        say(f"FAILED: {name}")
    if not failed:
        say("every suite that can run here passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
