"""Results of a run: its stages, their tests, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from agency.errors import ExitCode


class Outcome(Enum):
    """Ends of a stage. ERROR is a fault of the place where it ran, not of the recipe."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"
    ERROR = "error"


MOST_RESULT = 1024 * 1024  # bytes of a run's result.json, for who writes and who reads it
STAGES = ("install", "upgrade", "backup", "custom")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One test of a suite; `reason` says why it failed or was skipped.

    `screenshot` is the picture of its page at its end, below the run's artifacts; empty without.
    """

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""
    screenshot: str = ""


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage; `reason` is there unless it passed, `notes` are facts worth reading.

    `left_out` counts tests that are not among `tests`, because a result has its limits.
    """

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""
    tests: tuple[CaseResult, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: Mapping[Outcome, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Teardown:
    """End of the app: what abra left and was swept, and what is still there after that."""

    swept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    kept: bool = False

    @property
    def clean(self) -> bool:
        """True if nothing of the app is left, or it was to be kept."""
        return not self.left


def verdict(stages: Sequence[StageResult], teardown: Teardown) -> Outcome:
    """Judge a run: it passes only if something passed, nothing failed, and nothing is left."""
    outcomes = {stage.outcome for stage in stages}
    if Outcome.ERROR in outcomes:
        return Outcome.ERROR
    if Outcome.FAIL in outcomes or not teardown.clean or Outcome.PASS not in outcomes:
        return Outcome.FAIL
    return Outcome.PASS


def exit_code(judged: Outcome) -> ExitCode:
    """Return 0 for a pass, 3 for a fault of the place, else 1."""
    if judged is Outcome.PASS:
        return ExitCode.DONE
    return ExitCode.PREREQUISITE if judged is Outcome.ERROR else ExitCode.BAD
