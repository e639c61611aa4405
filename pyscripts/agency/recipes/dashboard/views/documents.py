"""JSON of what the pages show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agency.clock import iso
from agency.recipes.dashboard.views import links
from agency.recipes.dashboard.views.flakiness import Flakiness
from agency.recipes.dashboard.views.links import ForgeLinks
from agency.recipes.dashboard.views.models import Row, RunView
from agency.recipes.record.history import Listed
from agency.recipes.record.run import Run, RunState

Document = dict[str, object]


def overview(
    rows: Sequence[Row], queue: Sequence[Listed], counts: Mapping[RunState, int], forge: ForgeLinks
) -> Document:
    """Describe all recipes, with what runs and waits."""
    return {
        "recipes": [_row(row, forge) for row in rows],
        "queue": [listed(one, forge) for one in queue],
        "runs": {state.value: number for state, number in counts.items()},
    }


def recipe(
    name: str,
    enrolled: bool,
    runs: Sequence[Listed],
    flakiness: Flakiness,
    older: int | None,
    forge: ForgeLinks,
) -> Document:
    """Describe a page of a recipe's history; `older` is the number to ask for the next with."""
    page = f"{links.of_recipe(name)}.json"
    return {
        "recipe": name,
        "enrolled": enrolled,
        "flakiness": _flakiness(flakiness),
        "runs": [listed(one, forge) for one in runs],
        "next": None if older is None else f"{page}?before={older}",
    }


def run(view: RunView, forge: ForgeLinks, days: int) -> Document:
    """Describe a run, with its result as it was written."""
    of = view.run.id
    return {
        **_run(view.run, forge),
        "position": view.before,
        "result": view.result.document if view.result.there else None,
        "result_faults": list(view.result.faults),
        "files_shown_days": days,
        "files_expired": view.expired,
        "logs": [
            {"name": one.name, "bytes": one.size, "text": f"{links.of_log(of, one.name)}.txt"}
            for one in view.logs
        ],
        "files": [
            {"path": one.path, "bytes": one.size, "url": links.of_file(of, one.path)}
            for one in view.files
        ],
    }


def listed(one: Listed, forge: ForgeLinks) -> Document:
    """Describe a run of a list."""
    return {**_run(one.run, forge), "version": one.version or None}


def _row(row: Row, forge: ForgeLinks) -> Document:
    return {
        "recipe": row.recipe,
        "repository": row.repository,
        "url": links.of_recipe(row.recipe),
        "badge": f"{links.of_recipe(row.recipe)}/badge.svg",
        "flakiness": _flakiness(row.tally.flakiness),
        "verdicts": [state.value for state in row.tally.strip],
        "latest": None if row.latest is None else listed(row.latest, forge),
    }


def _flakiness(found: Flakiness) -> Document:
    return {
        "runs": found.judged,
        "repeats": found.repeats,
        "disagreeing": found.disagreeing,
        "changes": found.changes,
        "share": None if found.share is None else round(found.share, 4),
    }


def _run(run: Run, forge: ForgeLinks) -> Document:
    order = run.order
    return {
        "run": run.id,
        "url": links.of_run(run.id),
        "recipe": order.recipe,
        "project": order.project,
        "pull_request": order.pull_request or None,
        "pull_request_url": forge.pull_request(order) or None,
        "commit": order.commit,
        "stages": list(order.stages),
        "requester": order.requester,
        "state": run.state.value,
        "reason": run.reason,
        "stop_asked_by": run.stop_asked_by,
        "attempts": run.attempts,
        "engine": run.engine or None,
        "engine_url": links.web(run.engine_url) or None,
        "queued": iso(run.queued_ts / 1000),
        "started": None if run.started_ts is None else iso(run.started_ts / 1000),
        "ended": None if run.ended_ts is None else iso(run.ended_ts / 1000),
        "seconds": run.seconds,
    }
