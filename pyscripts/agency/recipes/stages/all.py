"""The stages by name. Each returns its tests and notes, or raises for a failure or a skip.

| suite | run by |
|---|---|
| `test_install.py` | install, upgrade and backup: the app works |
| `test_write.py` | upgrade (before it) and backup (before it): writes data |
| `test_keep.py` | upgrade (after it) and backup (after the restore): the data are there |
| `test_change.py` | backup (between backup and restore): changes the data |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError
from agency.recipes.outcome import CaseResult
from agency.recipes.recipe.versions import Version
from agency.recipes.stages.port import LiveApp, StageError

INSTALL, WRITE, KEEP, CHANGE = "install", "write", "keep", "change"
SUITES = (INSTALL, WRITE, KEEP, CHANGE)
BASES_S = 1800.0  # after that, no further published version is tried
_MOST_TOLD = 10  # versions that could not be deployed, in one reason
_CLOCK = Clock()


class SkippedError(Exception):
    """A stage that cannot be shown, with the reason."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Facts that a stage that passed has shown."""

    tests: tuple[CaseResult, ...] = ()
    notes: tuple[str, ...] = field(default=())


Stage = Callable[[LiveApp], Shown]


def install(app: LiveApp) -> Shown:
    """Deploy the recipe under test as a new app; its tests of an installed app pass."""
    app.deploy_head()
    if not app.has_suite(INSTALL):
        return Shown(notes=("no test_install.py: only the readiness was checked",))
    return Shown(app.suite(INSTALL))


def upgrade(app: LiveApp, clock: Clock = _CLOCK) -> Shown:
    """Deploy a published version, write data, upgrade to the recipe under test: data are there.

    The nearest version that can be deployed; where none can, the stage fails.
    """
    _demand(app, WRITE, KEEP)
    bases = app.earlier()
    if not bases:
        raise SkippedError("no earlier version is published: no tag such as 1.0.0+2.3")
    base, notes = _first_deployable(app, bases, clock)
    tests = app.suite(WRITE)
    app.deploy_head()
    tests += app.suite(KEEP)
    if app.has_suite(INSTALL):
        tests += app.suite(INSTALL)
    return Shown(tests, (*notes, f"from {base}"))


def _first_deployable(
    app: LiveApp, bases: Sequence[Version], clock: Clock
) -> tuple[Version, tuple[str, ...]]:
    notes: list[str] = []
    deadline = clock.steady() + BASES_S
    for base in bases:
        if notes and clock.steady() >= deadline:
            notes.append(f"{len(bases) - len(notes)} older ones were not tried in {BASES_S:g} s")
            break
        try:
            app.deploy_fresh(base)
        except PrerequisiteError:
            raise
        except AgencyError as error:
            notes.append(f"{base} cannot be deployed: {error.message}")
        else:
            return base, _shortened(notes)
    raise StageError(
        f"no published version could be deployed, so no upgrade was shown: "
        f"{'; '.join(_shortened(notes))}",
        hint="publish a version that can be deployed",
    )


def _shortened(notes: Sequence[str]) -> tuple[str, ...]:
    """Leave out the middle of many notes: the nearest versions and the last word count."""
    if len(notes) <= _MOST_TOLD:
        return tuple(notes)
    left = len(notes) - _MOST_TOLD
    return (*notes[: _MOST_TOLD - 1], f"{left} further ones neither", notes[-1])


def backup(app: LiveApp) -> Shown:
    """Write data, back up, change them, restore: what was written is there again."""
    if not app.head.backed_up:
        raise SkippedError("no service has the label backupbot.backup=true")
    _demand(app, WRITE, CHANGE, KEEP)
    app.ensure_head()
    tests = app.suite(WRITE)
    app.back_up()
    tests += app.suite(CHANGE)
    if app.holds(KEEP):
        raise StageError(
            "test_keep.py passes after test_change.py changed the data: it cannot show a restore",
            hint="let test_change.py change or remove what test_keep.py reads",
        )
    app.restore()
    tests += app.suite(KEEP)
    if app.has_suite(INSTALL):
        tests += app.suite(INSTALL)
    return Shown(tests)


def custom(app: LiveApp) -> Shown:
    """Run the recipe's own further tests against the recipe under test."""
    if not app.own_tests():
        raise SkippedError("the recipe has no tests/test_*.py of its own")
    app.ensure_head()
    return Shown(app.run_own_tests())


def _demand(app: LiveApp, *suites: str) -> None:
    missing = [f"test_{name}.py" for name in suites if not app.has_suite(name)]
    if missing:
        raise SkippedError(f"the tests have no {' and no '.join(missing)}")


BY_NAME: Mapping[str, Stage] = {
    "install": install,
    "upgrade": upgrade,
    "backup": backup,
    "custom": custom,
}
