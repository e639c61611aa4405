"""Suites of a recipe: pytest in a child process, bounded, whose results are read back.

The tests are code of the recipe. The child gets the app's address and the app's own secrets, and
nothing else of this process: no credential, no Docker.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.characters import is_whole
from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.programs import Bounds, ProgramError, run_to_end
from agency.recipes.client import Route
from agency.recipes.journal import Journal
from agency.recipes.outcome import CaseResult, Outcome
from agency.recipes.stages.bounding import Bounded, bounded
from agency.recipes.stages.cgroup import DEFAULT_LIMITS, Limits
from agency.recipes.stages.screenshots import Album

VARIABLE = "AGENCY_RECIPE_APP"  # agency.recipes.harness reads it; importing that needs pytest
_MAX_RESULTS = 4 * 1024 * 1024
_MIB = 1024**2
# Chromium and Node.js reserve much address space, so the writable memory is bounded instead.
_BOUNDS = Bounds(error_bytes=_MIB, data_bytes=4096 * _MIB, file_bytes=256 * _MIB)
_NO_TESTS = 5  # pytest's exit status


class SuiteError(AgencyError):
    """Suite with a failed test, or that did not run as a suite does."""

    tests: tuple[CaseResult, ...] = ()


class SuitePrerequisiteError(PrerequisiteError):
    """Suite that needs a program which is missing here, such as a browser."""

    tests: tuple[CaseResult, ...] = ()


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=1000)]
    outcome: Literal["pass", "fail", "skip", "error"]
    seconds: Annotated[float, Field(ge=0)]
    reason: Annotated[str, Field(max_length=1000)]
    screenshot: Annotated[str, Field(pattern=r"^([0-9]{1,6}\.png)?$")] = ""


@dataclass(frozen=True, slots=True)
class SuiteRunner:
    """pytest for the app of a run.

    `private` is a directory of this run that nobody else reads; the child's HOME is in it.
    `album` takes the screenshots; without one, none are kept. `timed` is entered while pytest runs.
    """

    run: str
    domain: str
    route: Route
    private: Path
    marker: Mapping[str, str]
    timeout_s: float
    album: Album | None = None
    limits: Limits = DEFAULT_LIMITS
    timed: Callable[[], AbstractContextManager[None]] = nullcontext

    def run_files(
        self, directory: Path, files: Sequence[str], secrets: Mapping[str, str], journal: Journal
    ) -> tuple[CaseResult, ...]:
        """Run test files of a directory.

        Raises:
            SuiteError: a test failed, none ran, pytest itself failed, or a file's name is no
                UTF-8; `tests` has the results.
            PrerequisiteError: pytest is not installed, or a browser that the tests want.
        """
        if find_spec("pytest") is None:
            raise PrerequisiteError(
                "pytest is not installed, which runs a recipe's tests", hint="pip install pytest"
            )
        for name in files:
            if not is_whole(name):
                raise SuiteError("the name of a file of tests is not UTF-8", where=ascii(name))
        context, results = self.private / "app.json", self.private / "results.jsonl"
        pictures = self.private / "pictures"
        results.unlink(missing_ok=True)
        pictures.mkdir(mode=0o700, exist_ok=True)
        self._write_context(context, results, pictures, secrets)
        try:
            with bounded(self.run, self.limits) as suite:
                status = self._pytest(directory, files, context, suite, journal)
            self._tell_bounds(suite, files, journal)
            tests = tuple(self._case(row, pictures, journal) for row in _rows(results))
        finally:
            context.unlink(missing_ok=True)
            results.unlink(missing_ok=True)
            shutil.rmtree(pictures, ignore_errors=True)
        _judge(status, tests, ", ".join(files))
        return tests

    def _tell_bounds(self, suite: Bounded, files: Sequence[str], journal: Journal) -> None:
        if suite.killed:
            journal.say(f"# ended {suite.killed} processes that the tests left running")
        if suite.exceeded():
            raise SuiteError(suite.exceeded(), where=", ".join(files))

    def _case(self, row: _Row, pictures: Path, journal: Journal) -> CaseResult:
        picture, why = "", ""
        if row.screenshot and self.album is not None:
            source = pictures / row.screenshot
            picture, why = self.album.take(source, journal.path.stem, journal.clean(row.name))
        if why:
            journal.say(f"# no screenshot of {row.name}: {why}")
        reason = journal.clean(row.reason)
        return CaseResult(
            journal.clean(row.name), Outcome(row.outcome), row.seconds, reason, picture
        )

    def _write_context(
        self, place: Path, results: Path, pictures: Path, secrets: Mapping[str, str]
    ) -> None:
        ca_file = self.route.ca_file
        data = {
            "run": self.run,
            "domain": self.domain,
            "through": self.route.url,
            "ca_file": str(ca_file.resolve()) if ca_file else None,
            "results": str(results),
            "pictures": str(pictures),
            "secrets": dict(secrets),
        }
        write_atomically(place, json.dumps(data).encode(), mode=0o600)

    def _pytest(
        self,
        directory: Path,
        files: Sequence[str],
        context: Path,
        suite: Bounded,
        journal: Journal,
    ) -> int:
        home = self.private / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        # pytest names tests by their real places: those of a unit's state lie behind a link.
        directory = directory.resolve()
        options = ("-p", "agency.recipes.harness", "-p", "no:cacheprovider", "-c", os.devnull)
        pytest = [sys.executable, "-m", "pytest", *options, f"--rootdir={directory}", "-vv"]
        # -vv: otherwise pytest shortens values, and a shortened secret is harder to recognise.
        journal.say(f"$ pytest {' '.join(files)}")
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            # What happens to be installed here must not change a recipe's tests.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            VARIABLE: str(context),
            **self.marker,
        }
        try:
            with self.timed():
                finished = run_to_end(
                    [*suite.prefix, *pytest, *files],
                    timeout=self.timeout_s,
                    env=environment,
                    cwd=directory,
                    bounds=_BOUNDS,
                    sink=journal.write,
                )
        except ProgramError as error:
            journal.write(error.stderr)
            raise SuiteError(suite.exceeded() or error.message, where=", ".join(files)) from error
        journal.write(finished.stderr)
        return finished.status


def _rows(place: Path) -> list[_Row]:
    """Read the results. The tests could have written there too, so its form is checked."""
    try:
        if place.is_symlink() or place.stat().st_size > _MAX_RESULTS:
            raise SuiteError("the results are too large, or not those of the plugin")
        return [_Row.model_validate_json(line) for line in place.read_text().splitlines()]
    except FileNotFoundError:
        return []
    except (ValidationError, UnicodeDecodeError) as error:
        raise SuiteError("the results are not those of the plugin") from error


def _judge(status: int, tests: tuple[CaseResult, ...], files: str) -> None:
    """Raise unless pytest says that all is well and at least one test passed."""
    lacking = [one for one in tests if one.outcome is Outcome.ERROR]
    if lacking:
        missing = SuitePrerequisiteError(lacking[0].reason, where=lacking[0].name)
        missing.tests = tests
        raise missing
    failed = [one for one in tests if one.outcome is Outcome.FAIL]
    if failed:
        more = f" ({len(failed)} failed)" if len(failed) > 1 else ""
        error = SuiteError(f"{failed[0].name}: {failed[0].reason}{more}", where=files)
    elif status == _NO_TESTS:
        error = SuiteError("there is no test in it", where=files)
    elif status != 0:
        error = SuiteError(f"pytest ended with exit status {status}; read the log", where=files)
    elif not any(one.outcome is Outcome.PASS for one in tests):
        error = SuiteError("every test was skipped, so nothing was shown", where=files)
    else:
        return
    error.tests = tests
    raise error
