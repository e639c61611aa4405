"""Verdict on a run, from its `result.json` and how its build ended. Pure but for the reading."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import AgencyError
from agency.recipes.engine.port import Phase, Status
from agency.recipes.outcome import MOST_RESULT
from agency.recipes.record.run import Run, RunState
from agency.settings import read_bounded
from agency.terminal import plain_lines

FILE = "result.json"
MAX_BYTES = MOST_RESULT
_TAIL_LINES = 5
_MAX_TAIL = 1000


class Ending(Enum):
    """Reasons of the runner to end a build."""

    STOPPED = "stopped"
    TIMED_OUT = "timed out"


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Stage(_Read):
    name: Annotated[str, Field(max_length=100)]
    outcome: Literal["pass", "fail", "skip", "error"]
    reason: Annotated[str, Field(max_length=100_000)] = ""


class _Teardown(_Read):
    clean: bool
    left: tuple[str, ...] = ()


class Result(_Read):
    """The part of a `result.json` that the verdict needs."""

    run: str
    outcome: Literal["pass", "fail", "error"]
    stages: tuple[_Stage, ...]
    teardown: _Teardown

    def reason(self) -> str:
        """Return the reason of the first stage that stands for the outcome; empty for a pass."""
        for wanted in ("error", "fail") if self.outcome == "error" else ("fail",):
            for stage in self.stages:
                if stage.outcome == wanted:
                    return f"{stage.name}: {stage.reason}" if stage.reason else stage.name
        if not self.teardown.clean:
            return f"teardown: still there: {', '.join(self.teardown.left)}"
        return "" if self.outcome == "pass" else "every stage was skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """End of a run, for its record; `result` is the text of its `result.json`."""

    state: RunState
    reason: str
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of a run: its result and that result's text, or the fault of both; the log's end."""

    result: Result | None
    text: str | None
    fault: str
    tail: tuple[str, ...]


def read_evidence(artifacts: Path, run: str) -> Evidence:
    """Read what a run left; a result that is not that run's is none."""
    tail = _tail(artifacts / "logs" / "progress.log")
    path = artifacts / FILE
    if not path.exists():
        return Evidence(None, None, "there is no result", tail)
    try:
        data = read_bounded(path, most=MAX_BYTES, what="the result")
        result = Result.model_validate_json(data)
    except AgencyError as error:
        return Evidence(None, None, f"the result cannot be used: {error.message}", tail)
    except ValidationError:
        return Evidence(None, None, "the result is not of its form", tail)
    if result.run != run:
        return Evidence(None, None, "the result is another run's", tail)
    return Evidence(result, data.decode(errors="replace"), "", tail)


def judge(
    run: Run, status: Status, ending: Ending | None, evidence: Evidence, minutes: int
) -> Verdict:
    """Judge a run that is over. Without a result it is never a pass."""
    result = evidence.result
    if result is None:
        return _without_result(run, status, ending, evidence, minutes)
    if result.outcome == "error":
        return Verdict(RunState.ERROR, result.reason(), evidence.text)
    if result.outcome == "fail":
        return Verdict(RunState.FAILED, result.reason(), evidence.text)
    good = all(stage.outcome in ("pass", "skip") for stage in result.stages)
    shown = any(stage.outcome == "pass" for stage in result.stages)
    if not (good and shown and result.teardown.clean):
        return Verdict(RunState.ERROR, "the result says pass, and its stages do not", evidence.text)
    # After LOST nobody knows how its process ended; its last act was to write the result.
    if status.phase not in (Phase.PASSED, Phase.LOST) and ending is None:
        reason = f"the result says pass, and its build ended otherwise: {_how(status)}"
        return Verdict(RunState.ERROR, reason, evidence.text)
    return Verdict(RunState.PASSED, "", evidence.text)


def _without_result(
    run: Run, status: Status, ending: Ending | None, evidence: Evidence, minutes: int
) -> Verdict:
    if ending is Ending.STOPPED or run.stop_asked_by is not None:
        by = run.stop_asked_by or "somebody at the engine"
        return Verdict(RunState.CANCELLED, f"by {by}")
    if ending is Ending.TIMED_OUT:
        return Verdict(RunState.TIMED_OUT, f"no end after {minutes} minutes")
    if status.phase is Phase.CANCELLED:
        return Verdict(RunState.CANCELLED, "by somebody at the engine")
    reason = f"{evidence.fault}; its build ended: {_how(status)}"
    if evidence.tail:
        reason += "\n" + "\n".join(evidence.tail)
    return Verdict(RunState.ERROR, reason)


def _how(status: Status) -> str:
    return f"{status.phase.value}, {status.detail}" if status.detail else status.phase.value


def _tail(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4 * _MAX_TAIL))
            data = file.read(4 * _MAX_TAIL)
    except OSError:
        return ()
    text = "\n".join(data.decode(errors="replace").splitlines()[-_TAIL_LINES:])
    return tuple(plain_lines(text[-_MAX_TAIL:]).splitlines())
