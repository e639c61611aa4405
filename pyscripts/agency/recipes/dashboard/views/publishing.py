"""Badges and feeds: what other pages and programs show of the runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import anybadge
from feedgenerator import Atom1Feed

from agency.recipes.dashboard.logs.ansi import plain
from agency.recipes.dashboard.views import links, words
from agency.recipes.record.history import Listed
from agency.recipes.record.run import RunState

MOST_ENTRIES = 50
_MOST_LABEL = 40
# White letters on each of them have a contrast of 4.5 and more.
_COLOURS = {
    RunState.PASSED: "#2a7d33",
    RunState.FAILED: "#b3261e",
    RunState.TIMED_OUT: "#b3261e",
    RunState.ERROR: "#9a5b00",
}
_UNKNOWN = "#666666"
_MASK = re.compile(r"(\bid=\"|url\(#)anybadge_\d+")


def badge(recipe: str, verdict: Listed | None) -> str:
    """Draw the badge of a recipe: its latest verdict, and the version that it was of."""
    state = None if verdict is None else verdict.run.state
    said = "no run yet" if state is None else state.value.replace("-", " ")
    if verdict is not None and verdict.version and state is RunState.PASSED:
        said = f"{said} {verdict.version}"
    label = plain(recipe)[:_MOST_LABEL].replace("\n", " ") or "recipe"
    drawn = anybadge.Badge(
        label=label,
        value=plain(said)[:_MOST_LABEL].replace("\n", " "),
        default_color=_COLOURS.get(state, _UNKNOWN) if state else _UNKNOWN,
    )
    # Its mask is numbered by the badges that this process drew: the same badge has the same text.
    return _MASK.sub(r"\1badge", str(drawn.badge_svg_text))


def feed(base: str, recipe: str | None, verdicts: Sequence[Listed]) -> str:
    """Write the Atom feed of verdicts, the newest first; `base` is the dashboard's address."""
    page = base + (links.of_recipe(recipe) if recipe else "/")
    address = f"{base}{links.of_recipe(recipe)}/feed.atom" if recipe else f"{base}/feed.atom"
    title = f"Runs of {plain(recipe)}" if recipe else "Runs of all recipes"
    made = Atom1Feed(title=title, link=page, description=None, feed_url=address, feed_guid=address)
    ended = [one for one in verdicts if one.run.ended_ts is not None]
    for one in sorted(ended, key=lambda each: -(each.run.ended_ts or 0))[:MOST_ENTRIES]:
        _add(made, base, one)
    return str(made.writeString("utf-8"))


def _add(made: Atom1Feed, base: str, one: Listed) -> None:
    run, order = one.run, one.run.order
    url = base + links.of_run(run.id)
    version = f" {one.version}" if one.version else ""
    request = f", pull request {order.pull_request}" if order.pull_request else ""
    told = (
        f"{order.recipe}{version} at {order.commit[:12]}{request}: {run.state.value}"
        f" after {words.length(run.seconds)}, asked for by {order.requester}."
    )
    ended = datetime.fromtimestamp((run.ended_ts or 0) / 1000, UTC)
    made.add_item(
        title=plain(f"{run.state.value}: {order.recipe}{version}"),
        link=url,
        # Readers take a summary for HTML: nothing of a run may be any.
        description=escape(plain(f"{told} {run.reason}".strip())),
        unique_id=url,
        pubdate=ended,
        updateddate=ended,
        author_name=plain(order.requester) or "unknown",
    )
