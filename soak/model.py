"""Model of one agent: the states in which it may be, by the answers to its changes.

An answer that says what was done leaves one state. One that came of a trouble (interrupted, failed
to start) leaves several: as it was, as it was asked to be, and stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from soak.plan import Step

STOPPED = "-"  # not running
NONE = "no project"

_RUNS = re.compile(r"(?P<agent>\S+) (?:already )?runs,? with (?:the project (\S+)|no project)")


@dataclass(frozen=True, slots=True)
class Answered:
    """A final answer: when it was posted, and what it says."""

    at: float
    ok: bool
    body: str


def project_in(body: str) -> str | None:
    """Return the project that an answer says an agent runs with; None if it says no such thing."""
    found = _RUNS.search(body)
    return None if found is None else (found[2] and found[2].rstrip(".")) or NONE


def wanted(step: Step, before: frozenset[str]) -> frozenset[str]:
    """Return the states that a change may lead to if it is done."""
    if step.verb == "stop":
        return frozenset({STOPPED})
    if step.project and step.verb == "restart":
        return frozenset({step.project})
    kept = frozenset(NONE if state == STOPPED else state for state in before)
    if step.project:  # `start` leaves a running agent alone
        return frozenset({step.project})
    return kept | ({NONE} if STOPPED in before else frozenset())


def after(
    step: Step, before: frozenset[str], answer: Answered, *, excused: bool
) -> tuple[frozenset[str], str]:
    """Return the states after a change, and what is wrong with its answer ("" if nothing is).

    `excused` says that a trouble met the command.
    """
    aim = wanted(step, before)
    loose = before | aim | {STOPPED}
    if answer.ok:
        return _done(step, before, aim, answer.body, excused=excused)
    running = project_in(answer.body)
    if step.verb == "start" and running is not None and "already runs" in answer.body:
        wrong = "" if running in before and running != step.project else "it runs otherwise"
        return frozenset({running}), wrong
    return loose, "" if excused else "it was not done, though nothing was in its way"


def _done(
    step: Step, before: frozenset[str], aim: frozenset[str], body: str, *, excused: bool
) -> tuple[frozenset[str], str]:
    if not body.startswith(step.agent):
        return aim, "it tells of another agent"
    if step.verb == "stop":
        idle = "was not running" in body
        wrong = idle and STOPPED not in before and not excused
        return aim, "it ran before" if wrong else ""
    running = project_in(body)
    if running is None:
        return aim, "it does not say that the agent runs"
    if "already" in body and not before - {STOPPED}:
        return frozenset({running}), "it was stopped before"
    if running in aim or (excused and running == NONE and not step.project):
        return frozenset({running}), ""
    return frozenset({running}), f"the project should be one of {sorted(aim)}"


def seen(body: str, agent: str) -> str | None:
    """Return the state that `status` or `list` shows of an agent: a project, or STOPPED."""
    listed = re.search(rf"^ *{agent} +\S+ +(running) +(\S+)", body, re.MULTILINE)
    if listed is not None:
        return NONE if listed[2] == "-" else listed[2]
    if re.search(rf"^ *{agent} +\S+ +(stopped|failed|starting)", body, re.MULTILINE):
        return STOPPED
    if not body.startswith(f"{agent}: "):
        return None
    if not body.startswith(f"{agent}: running"):
        return STOPPED
    project = re.search(r"^ *project +(\S+)", body, re.MULTILINE)
    if project is None:
        return None  # it runs, and did not answer the question
    return NONE if project[1] == "-" else project[1]
