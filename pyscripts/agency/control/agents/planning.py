"""Plan of the reconciler for one agent: what is observed and wished, to what is done. Pure.

             not as wished            tried, and not as wished yet       `most` tries
    quiet ──────────────▶ episode ────────────────────▶ wait, doubled ──────────────▶ given up
      ▲                      │                              │  the room is told once     │ condition
      └──────────────────────┴──────────── as wished ───────┴──── the room is told ──────┘

Nothing is done about an agent that has an operation under way, that its runtime starts again by
itself, or that was never commanded. In safe mode the room is told, and nothing is done. One that
runs as wished is given its Gosuto (documents).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from agency.control.agents import wording
from agency.control.agents.documents import plan_document
from agency.control.agents.history import Difference, Episode, History, Holding, Respawns
from agency.control.agents.seen import Seen, is_replaced, problem_of


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to act and to speak, which an agency in safe mode or a full outbox takes away."""

    act: bool = True
    tell: bool = True


class Verb(StrEnum):
    """The command that mends an agent."""

    START = "agents respawn"
    RESTART = "agents restart"
    STOP = "agents stop"
    DELETE = "agents delete"
    PUSH = "gosuto push"


_MENDS = {
    Difference.DEAD: Verb.START,
    Difference.DRIFTED: Verb.RESTART,
    Difference.SILENT: Verb.RESTART,
    Difference.UNWANTED: Verb.STOP,
    Difference.UNDELETED: Verb.DELETE,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Conclusion for one agent. `history` is kept from now on.

    Attributes:
        heal: The command to ask for.
        tell: A sentence for the room.
        noticed: What is put into the audit log: an episode that begins, or a process replaced.
        seen: True if the observed state is put on record.
        trace: Of what `heal` is done about; empty if nobody was told of anything.
    """

    history: History
    heal: Verb | None = None
    tell: str = ""
    noticed: Episode | None = None
    seen: bool = False
    trace: str = ""


def plan(
    seen: Seen, before: History, rules: Respawns, leave: Leave, now_s: float, trace: str
) -> Plan:
    """Plan for one agent; `trace` is for an episode that begins now."""
    history = before if before.wished_ts == seen.wished_ts else History(wished_ts=seen.wished_ts)
    if seen.busy or seen.known is None or (seen.recovering and not seen.runs):
        return Plan(history)
    history = _heard(seen, history, rules, now_s)
    if 0 < history.silent < rules.unheard:
        return Plan(history)
    problem = problem_of(seen)
    if problem is None:
        made = _as_wished(seen, history, rules, leave, now_s, trace)
        return _with_document(made, seen, history.episode, rules, leave, now_s, trace)
    return _mending(seen, replace(history, up_s=None), problem, rules, leave, now_s, trace)


def _heard(seen: Seen, history: History, rules: Respawns, now_s: float) -> History:
    """Count the looks in a row at which an agent that runs did not answer; of one process."""
    if not (seen.runs and seen.unheard):
        return replace(history, silent=0)
    before = history.silent if history.silent_as == seen.handle else 0
    if before and now_s - history.silent_s < rules.apart_s:
        return history
    return replace(history, silent=before + 1, silent_s=now_s, silent_as=seen.handle)


def _mending(
    seen: Seen,
    history: History,
    problem: Episode,
    rules: Respawns,
    leave: Leave,
    now_s: float,
    trace: str,
) -> Plan:
    """Try what mends an agent that is not as wished, at its time, and so often only."""
    noticed = None
    episode = history.episode
    if episode is None or episode.what is not problem.what:
        episode = noticed = replace(problem, trace=trace)
    elif not episode.reason:
        episode = replace(episode, reason=problem.reason)
    history = replace(history, episode=episode)
    if history.given_up:  # the condition says how it differs by now
        known = replace(history, episode=replace(episode, told=True))
        return Plan(known, noticed=noticed)
    if history.tries >= rules.most:
        over = replace(history, given_up=True, episode=replace(episode, told=True))
        return Plan(over, noticed=noticed, seen=True)
    if not leave.act:
        return _told(Plan(history, noticed=noticed), wording.left_so(seen, episode), leave)
    if now_s < history.next_s:
        later = wording.tried_again(seen, episode, history.next_s - now_s)
        return _told(Plan(history, noticed=noticed), later, leave)
    tries = history.tries + 1
    tried = replace(history, tries=tries, next_s=now_s + rules.wait_s(tries), silent=0)
    return Plan(tried, heal=_MENDS[problem.what], noticed=noticed, trace=episode.trace)


def _about(holding: Holding, over: Episode | None) -> str:
    """Return the trace of what a document is given for: what altered it, or a restart."""
    episode = holding.altered or over
    return "" if episode is None else episode.trace


def _with_document(
    made: Plan,
    seen: Seen,
    over: Episode | None,
    rules: Respawns,
    leave: Leave,
    now_s: float,
    trace: str,
) -> Plan:
    """Plan for the Gosuto of an agent that runs as wished, beside what is told of it.

    `over` is the episode that it comes out of.
    """
    if seen.document is None or made.noticed is not None:
        return made
    tell = leave.tell and not made.tell
    holding = made.history.holding
    document = plan_document(seen.document, holding, rules, now_s, trace, act=leave.act, tell=tell)
    made = replace(
        made,
        history=replace(made.history, holding=document.holding),
        heal=Verb.PUSH if document.push else None,
        noticed=document.noticed,
        trace=_about(document.holding, over),
    )
    if document.mended is None:
        return made
    told = wording.given_again(seen.name, document.mended, seen.document.number)
    return replace(made, tell=wording.traced(told, document.mended))


def _as_wished(
    seen: Seen, history: History, rules: Respawns, leave: Leave, now_s: float, trace: str
) -> Plan:
    """Close the episode, tell what changed by itself, and forget tries that lasted."""
    up_s = now_s if history.up_s is None else history.up_s
    history = replace(history, up_s=up_s, given_up=False)
    if history.tries and now_s - up_s >= rules.stable_s:
        history = replace(history, tries=0)
    episode = history.episode
    if episode is not None:
        if not leave.tell:
            return Plan(history)
        over = wording.traced(wording.mended(seen, episode, history.tries), episode)
        return Plan(replace(history, episode=None), tell=over, seen=True)
    if not is_replaced(seen):
        return Plan(history)
    if not leave.tell:
        return Plan(history)
    noticed = Episode(Difference.REPLACED, f"{seen.known_handle} before", trace)
    told = wording.traced(wording.restarted_elsewhere(seen), noticed)
    return Plan(history, tell=told, noticed=noticed, seen=True)


def _told(planned: Plan, text: str, leave: Leave) -> Plan:
    """Tell of an episode that goes on, once."""
    episode = planned.history.episode
    if episode is None or episode.told or not leave.tell:
        return planned
    history = replace(planned.history, episode=replace(episode, told=True))
    return replace(planned, history=history, tell=wording.traced(text, episode), seen=True)
