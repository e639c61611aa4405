"""One run from its first look to its last.

janitor ─▶ lock, private directory ─▶ fetch, policy ─▶ record ─▶ stages ─▶ teardown ─▶ report
                                                         └ from here on all is removed,
                                                           whatever ends the run
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.recipes.facts import Deadline, Facts
from agency.recipes.journal import Censor, Journal
from agency.recipes.naming import app_domain
from agency.recipes.observe.usage import Meter
from agency.recipes.outcome import StageResult, Teardown
from agency.recipes.recipe.read import recipe_name
from agency.recipes.run import janitor, places
from agency.recipes.run.alarm import Alarm, DeadlineError
from agency.recipes.run.app import App
from agency.recipes.run.checkout import Source
from agency.recipes.run.perform import perform, writing
from agency.recipes.run.prepare import Place, Wanted, prepare_app
from agency.recipes.run.report import Report, fitted
from agency.recipes.run.swarm import Swarm
from agency.recipes.run.teardown import tear_down


def conduct(wanted: Wanted, place: Place, run: str) -> Report:
    """Conduct a run.

    Raises:
        BadInputError: the recipe cannot be fetched or read, or the policy refuses it.
        PrerequisiteError: the swarm or a program is missing.
    """
    swarm = Swarm(place.docker_url, place.clock)
    swarm.require()
    janitor.reap(place.runs, swarm, place.docker_url, place.say)
    domain = app_domain(_named(wanted.source), wanted.pull_request, run, wanted.zone)
    alarm = Alarm(place.run_s)
    with _ends_on_sigterm(), alarm.set():
        private = places.create(place.runs, domain)
        try:
            return _conduct(wanted, place, run, domain, private, alarm)
        finally:
            # Without a record nothing was deployed; with one, the janitor of the next run helps.
            if private.path.is_dir() and places.read_record(private.path) is None:
                private.remove()
            private.release()


def _named(source: Source) -> str:
    """Name the recipe for its domain, before it is fetched."""
    return recipe_name(source.directory, source.name) if source.directory else source.name


def _conduct(
    wanted: Wanted, place: Place, run: str, domain: str, private: places.Private, alarm: Alarm
) -> Report:
    started, began = place.clock.now_iso(), place.clock.steady()
    artifacts = _artifacts(place.artifacts / run)
    place.say(f"run {run} at {domain}: fetching {wanted.source.place}")
    with Journal(artifacts / "logs" / "run.log", Censor()) as journal:
        app = _prepare(wanted, place, run, domain, private, artifacts, journal, alarm)
        record = places.Record(
            run=run,
            recipe=app.head.name,
            commit=app.checkout.commit,
            domain=domain,
            stack=app.stack,
            docker_url=place.docker_url,
        )
        private.write_record(record)
        meter = Meter(place.docker_url, app.stack)
        stages, teardown = _stages_and_teardown(
            app, wanted, record, private, artifacts, alarm, meter, place.say
        )
    report = Report(
        run=run,
        recipe=app.head.name,
        commit=app.checkout.commit,
        modified=app.checkout.modified,
        domain=domain,
        abra=app.abra.version(),
        started=started,
        seconds=place.clock.steady() - began,
        stages=stages,
        teardown=teardown,
        artifacts=str(artifacts),
        version=app.head.version,
        facts=Facts(
            deployments=tuple(app.deployments),
            usage=meter.usage(),
            overlay=app.head.overlay,
            deadline=Deadline(alarm.seconds, alarm.reached),
            times=app.timesheet.times(),
        ),
    )
    write_result(report, artifacts)
    return report


def write_result(report: Report, artifacts: Path) -> None:
    """Write `result.json`, the last act of a run."""
    write_atomically(artifacts / "result.json", fitted(report).encode())


def _prepare(
    wanted: Wanted,
    place: Place,
    run: str,
    domain: str,
    private: places.Private,
    artifacts: Path,
    journal: Journal,
    alarm: Alarm,
) -> App:
    try:
        with alarm.interrupting():
            return prepare_app(wanted, place, run, domain, private, artifacts, journal)
    except DeadlineError:
        raise AgencyError(
            alarm.told, where=wanted.source.place, hint="nothing was deployed; see --run-timeout"
        ) from None


def _stages_and_teardown(
    app: App,
    wanted: Wanted,
    record: places.Record,
    private: places.Private,
    artifacts: Path,
    alarm: Alarm,
    meter: Meter,
    say: Callable[[str], None],
) -> tuple[tuple[StageResult, ...], Teardown]:
    stages: tuple[StageResult, ...] = ()
    try:
        with meter:
            stages = perform(app, wanted.stages, artifacts / "logs", alarm, say)
        if wanted.keep:
            private.write_record(record.model_copy(update={"kept": True}))
            return stages, Teardown(kept=True)
    except BaseException:
        _tear_down(app, record.run, private, artifacts, say)
        raise
    return stages, _tear_down(app, record.run, private, artifacts, say)


def _tear_down(
    app: App, run: str, private: places.Private, artifacts: Path, say: Callable[[str], None]
) -> Teardown:
    # Lossy: a full disk must not keep the app on the swarm.
    with _uninterrupted(), writing(app, artifacts / "logs" / "teardown.log", lossy=True):
        say("teardown: begins")
        try:
            teardown = tear_down(app, run)
        except AgencyError as error:  # Docker does not answer; the next run's janitor tries again
            teardown = Teardown(left=(f"not known: {app.journal.clean(error.message)}",))
        if teardown.clean:
            private.remove()
    say(f"teardown: {'clean' if teardown.clean else 'not clean'}")
    return teardown


def _artifacts(path: Path) -> Path:
    """Make the directory of a run's results; an engine may have put its log there before."""
    if (path / "result.json").exists():
        raise BadInputError("this run has its result already", where=str(path))
    try:
        (path / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot keep results here: {error.strerror}",
            where=str(path),
            hint="name another directory with --artifacts",
        ) from error
    return path


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: with its teardown."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let nothing but SIGKILL end a teardown, which is bounded in time.

    By a handler: what is ignored would be ignored by abra and its children, too.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
