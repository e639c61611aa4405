"""Performance of a run's stages, one after the other, each with a log of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agency.errors import AgencyError, InternalError, PrerequisiteError
from agency.recipes.journal import Journal
from agency.recipes.outcome import STAGES, CaseResult, Outcome, StageResult
from agency.recipes.run.alarm import Alarm, DeadlineError
from agency.recipes.run.app import App
from agency.recipes.stages.all import BY_NAME, SkippedError
from agency.recipes.stages.suites import SuiteError, SuitePrerequisiteError


def perform(
    app: App, wanted: Sequence[str], logs: Path, alarm: Alarm, say: Callable[[str], None]
) -> tuple[StageResult, ...]:
    """Run the wanted stages in their order; what one makes useless is skipped with the reason."""
    results: list[StageResult] = []
    for name in (one for one in STAGES if one in wanted):
        blocked = alarm.told if alarm.reached else _blocked(results)
        if blocked:
            results.append(StageResult(name, Outcome.SKIP, reason=blocked))
            continue
        say(f"{name}: begins")
        with writing(app, logs / f"{name}.log"):
            result = _stage(name, app, alarm)
        if result.outcome in (Outcome.FAIL, Outcome.ERROR):
            _keep_services_logs(app, logs / f"{name}-services.log")
        results.append(result)
        say(f"{name}: {result.outcome.value}" + f": {result.reason}" * bool(result.reason))
    return tuple(results)


def _stage(name: str, app: App, alarm: Alarm) -> StageResult:
    began = app.clock.steady()
    outcome, reason = Outcome.PASS, ""
    tests: tuple[CaseResult, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        with alarm.interrupting():
            shown = BY_NAME[name](app)
        tests, notes = shown.tests, shown.notes
    except SkippedError as skipped:
        outcome, reason = Outcome.SKIP, str(skipped)
    except DeadlineError:
        outcome, reason = Outcome.FAIL, alarm.told
    except (PrerequisiteError, InternalError) as error:
        outcome, reason = Outcome.ERROR, _told(error)
        tests = error.tests if isinstance(error, SuitePrerequisiteError) else ()
    except AgencyError as error:
        outcome, reason = Outcome.FAIL, _told(error)
        tests = error.tests if isinstance(error, SuiteError) else ()
    except Exception as error:  # noqa: BLE001 - a fault of ours must not cost the run its result
        outcome, reason = Outcome.ERROR, internal(error)
        app.journal.say("".join(traceback.format_exception(error)))
    clean = app.journal.clean
    if reason:
        app.journal.say(f"# {outcome.value}: {reason}")
    seconds = app.clock.steady() - began
    return StageResult(name, outcome, seconds, clean(reason), tests, tuple(map(clean, notes)))


def internal(error: Exception) -> str:
    """Return the reason that a result tells of a fault of this program itself."""
    return f"internal: a fault of agency, not of the recipe ({type(error).__name__}); see the log"


def _told(error: AgencyError) -> str:
    return f"{error.where}: {error.message}" if error.where else error.message


def _blocked(results: Sequence[StageResult]) -> str:
    """Say why the next stage would show nothing; empty if it would."""
    for result in results:
        if result.outcome is Outcome.ERROR:
            return f"{result.name} could not be run here"
        if result.name == "install" and result.outcome is Outcome.FAIL:
            return "install failed"
    return ""


@contextmanager
def writing(app: App, path: Path, *, lossy: bool = False) -> Iterator[None]:
    """Let the app write into another log for the length of a block."""
    before = app.journal
    with Journal(path, before.censor, lossy=lossy) as journal:
        app.journal = journal
        try:
            yield
        finally:
            app.journal = before


def _keep_services_logs(app: App, path: Path) -> None:
    """Keep what the services said, for whoever reads why a stage failed."""
    with Journal(path, app.journal.censor) as journal:
        try:
            journal.write(app.swarm.logs(app.stack).encode(errors="replace"))
        except AgencyError as error:
            journal.say(f"# the services' logs cannot be read: {error}")
