"""Suites of a recipe: pytest in a child process, bounded, whose results are read back.

The tests are code of the recipe. The child gets the app's address and the app's own secrets, and
nothing else of this process: no credential, no Docker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.programs import Bounds, ProgramError, run_to_end
from agency.recipes.client import Route
from agency.recipes.journal import Journal
from agency.recipes.outcome import CaseResult, Outcome

VARIABLE = "AGENCY_RECIPE_APP"  # agency.recipes.harness reads it; importing that needs pytest
_MAX_RESULTS = 4 * 1024 * 1024
_MIB = 1024**2
_BOUNDS = Bounds(error_bytes=_MIB, data_bytes=4096 * _MIB, file_bytes=256 * _MIB)
_NO_TESTS = 5  # pytest's exit status


class SuiteError(AgencyError):
    """Suite with a failed test, or that did not run as a suite does."""

    tests: tuple[CaseResult, ...] = ()


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=1000)]
    outcome: Literal["pass", "fail", "skip"]
    seconds: Annotated[float, Field(ge=0)]
    reason: Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, slots=True)
class SuiteRunner:
    """pytest for the app of a run.

    `private` is a directory of this run that nobody else reads; the child's HOME is in it.
    """

    run: str
    domain: str
    route: Route
    private: Path
    marker: Mapping[str, str]
    timeout_s: float

    def run_files(
        self, directory: Path, files: Sequence[str], secrets: Mapping[str, str], journal: Journal
    ) -> tuple[CaseResult, ...]:
        """Run test files of a directory.

        Raises:
            SuiteError: a test failed, none ran, or pytest itself failed; `tests` has the results.
            PrerequisiteError: pytest is not installed.
        """
        if find_spec("pytest") is None:
            raise PrerequisiteError(
                "pytest is not installed, which runs a recipe's tests", hint="pip install pytest"
            )
        context, results = self.private / "app.json", self.private / "results.jsonl"
        results.unlink(missing_ok=True)
        self._write_context(context, results, secrets)
        try:
            status = self._pytest(directory, files, context, journal)
            tests = tuple(
                CaseResult(row.name, Outcome(row.outcome), row.seconds, journal.clean(row.reason))
                for row in _rows(results)
            )
        finally:
            context.unlink(missing_ok=True)
            results.unlink(missing_ok=True)
        _judge(status, tests, ", ".join(files))
        return tests

    def _write_context(self, place: Path, results: Path, secrets: Mapping[str, str]) -> None:
        ca_file = self.route.ca_file
        data = {
            "run": self.run,
            "domain": self.domain,
            "through": self.route.url,
            "ca_file": str(ca_file.resolve()) if ca_file else None,
            "results": str(results),
            "secrets": dict(secrets),
        }
        write_atomically(place, json.dumps(data).encode(), mode=0o600)

    def _pytest(
        self, directory: Path, files: Sequence[str], context: Path, journal: Journal
    ) -> int:
        home = self.private / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        options = ("-p", "agency.recipes.harness", "-p", "no:cacheprovider", "-c", os.devnull)
        argv = [sys.executable, "-m", "pytest", *options, f"--rootdir={directory}", "-vv", *files]
        # -vv: otherwise pytest shortens values, and a shortened secret is harder to recognise.
        journal.say(f"$ pytest {' '.join(files)}")
        try:
            finished = run_to_end(
                argv,
                timeout=self.timeout_s,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(home),
                    "TMPDIR": str(home),
                    "LANG": "C.UTF-8",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    # What happens to be installed here must not change a recipe's tests.
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                    VARIABLE: str(context),
                    **self.marker,
                },
                cwd=directory,
                bounds=_BOUNDS,
                sink=journal.write,
            )
        except ProgramError as error:
            journal.write(error.stderr)
            raise SuiteError(error.message, where=", ".join(files)) from error
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
