"""Teardown of a run's app: always, with abra first, then by looking at the swarm."""

from __future__ import annotations

from agency.errors import AgencyError
from agency.recipes.outcome import Teardown
from agency.recipes.run.app import REMOVAL_S, App
from agency.recipes.stages.bounding import end_left

_GRACE_S = 5.0


def tear_down(app: App, run: str) -> Teardown:
    """Remove all of the app. What abra leaves is swept, and said; what stays after that is too.

    Raises:
        PrerequisiteError: the swarm does not answer, so nothing is known.
    """
    end_left(run, _GRACE_S)
    said = []
    for step in (app.wipe, lambda: _remove_secrets(app)):
        try:
            step()
        except AgencyError as error:
            said.append(app.journal.clean(str(error.message)))
    left = app.swarm.remains(app.stack)
    swept = tuple(f"{one}, left by abra" for one in left)
    if left:
        with app.timesheet.waiting():
            left = app.swarm.remove(app.stack, REMOVAL_S)
    app.sidecar.destroy()
    for line in (*said, *swept):
        app.journal.say(f"# {line}")
    return Teardown(swept=(*said, *swept), left=tuple(map(str, left)))


def _remove_secrets(app: App) -> None:
    if app.created and any(one.kind == "secret" for one in app.swarm.remains(app.stack)):
        app.abra.remove_secrets(app.journal)
