"""Engine: runs a reconciler until no difference is left, and reports the changes.

It trusts no `apply`: after the changes it observes again, and only a plan without changes is
success. The number of rounds and the time are bounded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic

from agency.clock import Clock
from agency.errors import AgencyError, ExitCode
from agency.reconcile.engine.contract import Change, Observed, Planned, ReconcileError, Reconciler
from agency.reconcile.engine.lock import held
from agency.secrets import MIN_LENGTH, Redactor

# A change may show what could not be seen before it: a user's token after the user.
MAX_ROUNDS = 5


class Outcome(StrEnum):
    """Outcome of a run."""

    UNCHANGED = "unchanged"  # nothing differed, nothing was written
    CHANGED = "changed"  # the differences were removed, and a second look confirmed it
    DRIFT = "drift"  # a check found differences
    FAILED = "failed"  # something still differs


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a change was not made."""

    change: Change
    error: AgencyError

    def as_dict(self) -> dict[str, Any]:
        """Describe the failure as `--json` prints it."""
        return {**self.change.as_dict(), "error": self.error.as_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Observations and changes of a run; its texts are free of secrets."""

    name: str
    outcome: Outcome
    applied: tuple[Change, ...] = ()
    pending: tuple[Change, ...] = ()
    failures: tuple[Failure, ...] = ()
    rounds: int = 0
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        """Exit code: 0 in the declared state, 1 if not, 3 if only a prerequisite is missing."""
        if self.outcome in {Outcome.UNCHANGED, Outcome.CHANGED}:
            return ExitCode.DONE
        codes = {failure.error.exit_code for failure in self.failures}
        return codes.pop() if len(codes) == 1 else ExitCode.BAD

    def as_dict(self) -> dict[str, Any]:
        """Describe the report as `--json` prints it."""
        return {
            "reconciler": self.name,
            "outcome": self.outcome.value,
            "applied": [change.as_dict() for change in self.applied],
            "pending": [change.as_dict() for change in self.pending],
            "failures": [failure.as_dict() for failure in self.failures],
            "rounds": self.rounds,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run, in seconds."""

    run_s: float = 540.0  # below the unit's own 10 minutes, so that we say what hung
    lock_s: float = 60.0


@dataclass(slots=True)
class Engine(Generic[Observed, Planned]):
    """Runner of one reconciler."""

    name: str
    reconciler: Reconciler[Observed, Planned]
    lock_directory: Path
    clock: Clock = field(default_factory=Clock)
    limits: Limits = field(default_factory=Limits)

    async def run(self, *, check: bool = False) -> Report:
        """Bring the machine to its declared state; with `check`, only list the differences.

        Raises:
            AgencyError: the actual state could not be read, or the time was up.
        """
        started = self.clock.steady()
        async with held(self.lock_directory, wait_s=self.limits.lock_s, clock=self.clock):
            try:
                async with asyncio.timeout(self.limits.run_s):
                    report = await (self._check() if check else self._converge())
            except TimeoutError as error:
                raise ReconcileError(
                    f"no end after {self.limits.run_s:g} s",
                    where=self.name,
                    hint="see what it waits for in the journal; the next run goes on from there",
                ) from error
            except AgencyError as error:
                raise _clean_error(error, self._redactor()) from None
        return _finished(report, self.clock.steady() - started, self._redactor())

    def _redactor(self) -> Redactor:
        values = (v for v in self.reconciler.secrets() if len(v.reveal().strip()) >= MIN_LENGTH)
        return Redactor(values)

    async def _check(self) -> Report:
        changes = self.reconciler.plan(await self.reconciler.observe())
        outcome = Outcome.DRIFT if changes else Outcome.UNCHANGED
        return Report(name=self.name, outcome=outcome, pending=changes)

    async def _converge(self) -> Report:
        applied: list[Change] = []
        failures: list[Failure] = []
        before: tuple[Planned, ...] = ()
        for rounds in range(MAX_ROUNDS + 1):
            changes = self.reconciler.plan(await self.reconciler.observe())
            if failures or not changes or changes == before or rounds == MAX_ROUNDS:
                return self._ended(changes, applied, failures, rounds)
            await self._apply_all(changes, applied, failures)
            before = changes
        raise AssertionError("the last round returns")

    async def _apply_all(
        self, changes: tuple[Planned, ...], applied: list[Change], failures: list[Failure]
    ) -> None:
        failed_parts: set[str] = set()
        for change in changes:
            if change.part in failed_parts:
                continue
            try:
                if change.blocked is not None:
                    raise ReconcileError(change.blocked, where=change.part, hint=change.hint)
                await self.reconciler.apply(change)
            except AgencyError as error:
                failed_parts.add(change.part)
                failures.append(Failure(change, error))
            else:
                applied.append(change)

    def _ended(
        self,
        pending: tuple[Change, ...],
        applied: list[Change],
        failures: list[Failure],
        rounds: int,
    ) -> Report:
        if failures or pending:
            outcome = Outcome.FAILED
        else:
            outcome = Outcome.CHANGED if applied else Outcome.UNCHANGED
        return Report(
            name=self.name,
            outcome=outcome,
            applied=tuple(applied),
            pending=pending,
            failures=tuple(failures),
            rounds=rounds,
        )


def _finished(report: Report, seconds: float, redactor: Redactor) -> Report:
    return Report(
        name=report.name,
        outcome=report.outcome,
        applied=tuple(_clean_change(change, redactor) for change in report.applied),
        pending=tuple(_clean_change(change, redactor) for change in report.pending),
        failures=tuple(
            Failure(_clean_change(f.change, redactor), _clean_error(f.error, redactor))
            for f in report.failures
        ),
        rounds=report.rounds,
        seconds=seconds,
    )


def _clean_change(change: Change, redactor: Redactor) -> Change:
    def clean(text: str | None) -> str | None:
        return None if text is None else redactor.redact(text)

    return Change(
        part=redactor.redact(change.part),
        what=redactor.redact(change.what),
        before=redactor.redact(change.before),
        after=redactor.redact(change.after),
        blocked=clean(change.blocked),
        hint=clean(change.hint),
    )


def _clean_error(error: AgencyError, redactor: Redactor) -> AgencyError:
    error.message = redactor.redact(error.message)
    error.args = (error.message,)
    error.where = None if error.where is None else redactor.redact(error.where)
    error.hint = None if error.hint is None else redactor.redact(error.hint)
    return error
