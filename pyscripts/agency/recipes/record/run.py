"""One run on record: its order, and the states that it goes through.

queued ──▶ running ──▶ passed, failed, error, timed-out, cancelled
   │          │
   │          └──▶ queued      again, after its engine was killed
   ├──▶ cancelled              somebody asked to stop it
   └──▶ replaced               a newer commit of its pull request was ordered
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RunState(StrEnum):
    """The states of a run. ERROR is a fault of the place where it ran, not of the recipe."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMED_OUT = "timed-out"
    CANCELLED = "cancelled"
    REPLACED = "replaced"

    @property
    def ended(self) -> bool:
        """True of a state that nothing follows."""
        return self not in (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class Order:
    """Wish for a run of a pull request's commit.

    `recipe` is its name in the instance, `project` the forge's path of its repository, `commit`
    the full digest that the head had when it was ordered, `head_ref` the ref of `clone_url` that
    holds it. `comment` is the comment that ordered it; None if no comment did.
    """

    recipe: str
    project: str
    pull_request: int
    commit: str
    head_ref: str
    clone_url: str
    stages: tuple[str, ...]
    requester: str
    comment: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run on record. Moments are wall time in milliseconds since the epoch.

    `engine`, `engine_build` and `engine_url` say where it runs. `result` is the text of the run's
    `result.json`. `answer` is the forge's id of the comment that tells of it, and `told` the state
    that the forge was last told. `stop_asked_by` names who wants it stopped while it runs.
    """

    id: str
    sequence: int
    order: Order
    state: RunState
    queued_ts: int
    started_ts: int | None = None
    ended_ts: int | None = None
    reason: str = ""
    stop_asked_by: str | None = None
    attempts: int = 0
    engine: str = ""
    engine_build: str = ""
    engine_url: str = ""
    result: str | None = field(default=None, repr=False)
    answer: int | None = None
    told: str = ""

    @property
    def seconds(self) -> float | None:
        """Length of the run; None before its end."""
        if self.started_ts is None or self.ended_ts is None:
            return None
        return max(0.0, (self.ended_ts - self.started_ts) / 1000)


@dataclass(frozen=True, slots=True)
class Added:
    """Answer to an order: its run, whether it is new, and queued runs that it replaced."""

    run: Run
    fresh: bool
    replaced: tuple[Run, ...] = ()
