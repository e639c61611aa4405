"""Recording a spin-up while it happens: steps with their times, probes with what they saw."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from pydantic import ValidationError

# By its name: the rules are loaded when something is judged, and not by every `agency status`.
from agency import transcript
from agency.clock import Clock
from agency.errors import AgencyError

Evidence = dict[str, Any]
Collect = Callable[[], Awaitable[Evidence]]

# What parsing raises where an answer is not what it should be: no JSON, a field that lacks or is
# of another type. It is a finding about who answered, as long as somebody was asked.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)

TEARDOWN = "teardown"  # the last step of every target
WHOLE = "transcript"  # in the place of a step, for a failure that is of none


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of the spin-up; `status` is "done", "failed" or "skipped"."""

    name: str
    started_at: str
    duration_s: float
    status: str
    error: str | None = None
    log_tail: tuple[str, ...] | None = None  # of one that failed


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One observed fact, judged by the rule of its name; `status` is "passed" or "failed"."""

    name: str
    mandatory: bool
    status: str
    at: str
    duration_s: float
    evidence: Evidence
    reason: str | None
    mode: str = "observed"  # or "simulated", which no gate takes


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing that a person said in the control room, and what came of it."""

    name: str
    said: str
    by: str
    expected: str
    observed: Evidence
    passed: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why the spin-up ended early."""

    step: str
    message: str
    log_tail: tuple[str, ...]

    def redacted(self, redact: Callable[[str], str]) -> Failure:
        """Return the failure without secrets."""
        return Failure(self.step, redact(self.message), tuple(map(redact, self.log_tail)))


class Listener(Protocol):
    """Told of progress as it happens."""

    def step_began(self, name: str) -> None:
        """Take note that a step has begun."""

    def step_ended(self, record: StepRecord) -> None:
        """Take note that a step has ended, well or not."""

    def probe_ended(self, record: ProbeRecord) -> None:
        """Take note that a probe has been taken and judged."""


@dataclass(slots=True)
class Recorder:
    """Everything that will be in the transcript, in the order in which it happened."""

    target: str
    clock: Clock
    listener: Listener
    profile: tuple[str, ...] = ()  # parts beside what every run examines
    steps: list[StepRecord] = field(default_factory=list)
    probes: list[ProbeRecord] = field(default_factory=list)
    scenario: list[Utterance] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    log_tail: Callable[[], tuple[str, ...]] = tuple  # of everything that runs, for a failure
    failure: Failure | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; an error is recorded with the log that explains it, and raised again."""
        self.listener.step_began(name)
        started_at, begun = self.clock.now_iso(), self.clock.steady()

        def end(status: str, error: str | None = None, log: tuple[str, ...] | None = None) -> None:
            duration = round(self.clock.steady() - begun, 3)
            record = StepRecord(name, started_at, duration, status, error, log)
            self.steps.append(record)
            self.listener.step_ended(record)

        try:
            yield
        except BaseException as error:
            message = describe(error)
            log_tail: tuple[str, ...] = getattr(error, "log_tail", ()) or self.log_tail()
            end("failed", message, log_tail)
            if self.failure is None:
                self.failure = Failure(name, message, log_tail)
            raise
        end("done")

    def skip(self, name: str) -> None:
        """Record a step that was not reached."""
        self.steps.append(StepRecord(name, self.clock.now_iso(), 0.0, "skipped"))

    async def probe(self, name: str, collect: Collect, *, simulated: bool = False) -> Evidence:
        """Collect evidence and judge it; a fault while collecting is a failed probe, not an end.

        `simulated` says that what is looked at was made by a stand-in of a program.
        """
        rule = transcript.PROBES[name]
        at, begun = self.clock.now_iso(), self.clock.steady()
        evidence: Evidence = {}
        reason: str | None
        try:
            evidence = await collect()
        except (AgencyError, OSError, aiohttp.ClientError) as error:
            passed, reason = False, f"could not be observed: {describe(error)}"
        except UNREADABLE as error:
            passed, reason = False, f"could not be understood: {describe(error)}"
        else:
            verdict = rule.judge(evidence)
            passed, reason = verdict.ok, verdict.reason or None
        record = ProbeRecord(
            name=name,
            mandatory=transcript.mandatory(name, self.target, self.profile),
            status="passed" if passed else "failed",
            at=at,
            duration_s=round(self.clock.steady() - begun, 3),
            evidence=evidence,
            reason=None if passed else reason,
            mode="simulated" if simulated else "observed",
        )
        self.probes.append(record)
        self.listener.probe_ended(record)
        return evidence

    def fail(self, message: str) -> None:
        """Record what is wrong with the record as a whole, unless a step has failed already."""
        if self.failure is None:
            self.failure = Failure(WHOLE, message, ())

    def heard(
        self,
        name: str,
        *,
        said: str,
        by: str,
        expected: str,
        observed: Mapping[str, Any],
        passed: bool,
    ) -> None:
        """Record one exchange of the scenario."""
        self.scenario.append(Utterance(name, said, by, expected, dict(observed), passed))


def describe(error: BaseException) -> str:
    """Describe an error in one line, without a traceback; of a group, each of its errors."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(describe, error.exceptions))
    if isinstance(error, ValidationError):
        return transcript.explain(error)
    if isinstance(error, AgencyError):
        return f"{error.where}: {error.message}" if error.where else error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
