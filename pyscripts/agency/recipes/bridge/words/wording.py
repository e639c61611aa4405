"""Texts that the forge is told: answers to comments, the comment of a run, its status. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from agency.forge import CommitState, CommitStatus
from agency.recipes.bridge.words.markdown import code, fenced
from agency.recipes.bridge.words.reading import STOP, WORD
from agency.recipes.outcome import STAGES
from agency.recipes.record.run import Run, RunState

STATUS = "agency/recipes"
_MAX_REASON = 600
_MAX_NAME = 80
_MAX_STAGES = 12
_MAX_DESCRIPTION = 140  # what GitHub takes; Gitea and GitLab take 255

_STATES = {
    RunState.QUEUED: CommitState.PENDING,
    RunState.RUNNING: CommitState.RUNNING,
    RunState.PASSED: CommitState.SUCCESS,
}
_HEADLINES = {
    RunState.QUEUED: "is queued",
    RunState.RUNNING: "is running",
    RunState.PASSED: "passed",
    RunState.FAILED: "failed",
    RunState.ERROR: "could not be done: a fault of the test server, not of the recipe",
    RunState.TIMED_OUT: "took too long and was ended",
    RunState.CANCELLED: "was cancelled",
    RunState.REPLACED: "was replaced: a newer commit is tested in its place",
}
_SIGNS = {
    RunState.QUEUED: "⏳",
    RunState.RUNNING: "▶️",
    RunState.PASSED: "✅",
    RunState.CANCELLED: "⏹️",
    RunState.REPLACED: "⏹️",
}
_TROUBLE = ("fail", "error")


def run_url(dashboard: str, run: str) -> str:
    """Return the address of a run's page."""
    return f"https://{dashboard}/runs/{run}"


def marker(comment: int) -> str:
    """Return the invisible line by which an answer to a comment is found again."""
    return f"<!-- agency-recipes: answer to {comment} -->"


def run_comment(run: Run, dashboard: str, note: str = "") -> str:
    """Write the comment that tells of a run, as it stands."""
    url, sign = run_url(dashboard, run.id), _SIGNS.get(run.state, "❌")
    order = run.order
    commit, recipe = code(order.commit[:12], 12), code(order.recipe, _MAX_NAME)
    lines = [
        f"{sign} Test [{run.id}]({url}) of {recipe} at {commit} **{_HEADLINES[run.state]}**.",
        f"Stages: {', '.join(order.stages)}. Asked by {code(order.requester, _MAX_NAME)}.",
    ]
    lines += ["", note] if note else []
    result = _result(run)
    table = _table(result)
    lines += ["", *table] if table else []
    if run.seconds is not None:
        lines += ["", f"It took {_duration(run.seconds)}."]
    reason = first_reason(run, result)
    lines += ["", fenced(reason, _MAX_REASON)] if reason else []
    if run.state.ended and run.state is not RunState.PASSED:
        lines += ["", f"[Logs and details]({url}). To test again, comment `{WORD}`."]
    if run.order.comment is not None:
        lines += ["", marker(run.order.comment)]
    return "\n".join(lines)


def run_status(run: Run, dashboard: str) -> CommitStatus:
    """Return the commit status of a run."""
    words = f"{run.id} {_HEADLINES[run.state]}"
    reason = first_reason(run, _result(run)) if run.state.ended else ""
    first = " ".join(reason.split())
    told = f"{words}: {first}" if first else words
    return CommitStatus(
        name=STATUS,
        state=_STATES.get(run.state, CommitState.FAILURE),
        description="".join(c if c.isprintable() else " " for c in told)[:_MAX_DESCRIPTION],
        target_url=run_url(dashboard, run.id),
    )


def first_reason(run: Run, result: Mapping[str, Any]) -> str:
    """Return why a run did not pass: its first bad stage and test, else what its engine says."""
    if run.state in (RunState.PASSED, RunState.QUEUED, RunState.RUNNING):
        return ""
    for stage in _rows(result, "stages"):
        if stage.get("outcome") not in _TROUBLE:
            continue
        told = [f"{stage.get('name', '')}: {stage.get('reason', '')}"]
        bad = (one for one in _rows(stage, "tests") if one.get("outcome") in _TROUBLE)
        told += [f"{one.get('name', '')}: {one.get('reason', '')}" for one in bad][:1]
        return "\n".join(told)
    return run.reason


def _result(run: Run) -> Mapping[str, Any]:
    """Read the result of a run; empty if there is none yet, or it cannot be read."""
    try:
        found = json.loads(run.result or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rows(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = found.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _table(result: Mapping[str, Any]) -> list[str]:
    rows = _rows(result, "stages")[:_MAX_STAGES]
    if not rows:
        return []
    body = []
    for row in rows:
        seconds = row.get("seconds")
        took = _duration(seconds) if isinstance(seconds, (int, float)) else "-"
        name = code(str(row.get("name")), _MAX_NAME)
        body.append(f"| {name} | {code(str(row.get('outcome')), 10)} | {took} |")
    return ["| stage | outcome | time |", "|---|---|---|", *body]


def _duration(seconds: float) -> str:
    if not 0 <= seconds < 10**7:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def stranger_reply(owner: str) -> str:
    """Answer somebody who may not start runs."""
    who = code(owner, _MAX_NAME)
    return f"Only members of {who} can start tests here. One of them can comment `{WORD}` for you."


def unreadable_reply(owner: str) -> str:
    """Answer when the forge keeps the members from the bot."""
    who = code(owner, _MAX_NAME)
    return (
        f"No test was started: the forge does not let me see who is a member of {who}. "
        f"Make my account a member (reading is enough), then comment `{WORD}` again."
    )


def unknown_reply(words: Iterable[str]) -> str:
    """Answer a command with words that are no stages."""
    named = ", ".join(code(word, _MAX_NAME) for word in words)
    return (
        f"No test was started: {named} is no stage. Possible are `{WORD}` for all stages, "
        f"`{WORD} {STAGES[0]},{STAGES[1]}` for some of {', '.join(STAGES)}, and `{WORD} {STOP}`."
    )


def edited_reply() -> str:
    """Answer an edited comment."""
    return f"Edited comments start nothing. Write a new comment: `{WORD}`."


def closed_reply(state: str) -> str:
    """Answer a comment on a pull request that is not open."""
    return f"No test was started: this pull request is {state}."


def gone_reply() -> str:
    """Answer a comment on a pull request whose branch is gone."""
    return "No test was started: the branch of this pull request, or its repository, was removed."


def moved_reply() -> str:
    """Answer a comment after which a fork's branch got another commit."""
    return (
        "No test was started: this branch of a fork got commits after the comment. "
        f"Look at them, then comment `{WORD}` again."
    )


def moved_note() -> str:
    """Say in a run's comment that it tests more than was there when it was asked for."""
    return "The branch got commits after the comment; this tests the newest."


def stop_reply(stopped: Iterable[Run], dashboard: str) -> str:
    """Answer a command to stop."""
    named = [f"[{run.id}]({run_url(dashboard, run.id)})" for run in stopped][:20]
    return f"Stopping {', '.join(named)}." if named else "Nothing is queued or running here."


def broken_reply() -> str:
    """Answer when the forge's answers could not be read for long."""
    return f"No test was started: the forge answered with faults. Comment `{WORD}` again."
