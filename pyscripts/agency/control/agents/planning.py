"""Plan of the reconciler for one agent: what is observed and wished, to what is done. Pure.

             not as wished            tried, and not as wished yet       `most` tries
    quiet ──────────────▶ episode ────────────────────▶ wait, doubled ──────────────▶ given up
      ▲                      │                              │  the room is told once     │ condition
      └──────────────────────┴──────────── as wished ───────┴──── the room is told ──────┘

Nothing is done about an agent that has an operation under way, that its runtime starts again by
itself, or that was never commanded. In safe mode the room is told, and nothing is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from agency.control.agents import wording
from agency.control.agents.history import Difference, Episode, History, Respawns
from agency.control.agents.seen import Seen, is_replaced, problem_of


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to act and to speak, which an agency in safe mode or a full outbox takes away."""

    act: bool = True
    tell: bool = True


class Verb(StrEnum):
    """The command that mends an agent."""

    START = "respawn"
    RESTART = "restart"
    STOP = "stop"
    DELETE = "delete"


_MENDS = {
    Difference.DEAD: Verb.START,
    Difference.DRIFTED: Verb.RESTART,
    Difference.UNWANTED: Verb.STOP,
    Difference.UNDELETED: Verb.DELETE,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows for one agent. `history` is kept from now on.

    Attributes:
        heal: The command to ask for.
        tell: A sentence for the room.
        noticed: What is put into the audit log: an episode that begins, or a process replaced.
        seen: True if the observed state is put on record.
    """

    history: History
    heal: Verb | None = None
    tell: str = ""
    noticed: Episode | None = None
    seen: bool = False


def plan(
    seen: Seen, before: History, rules: Respawns, leave: Leave, now_s: float, trace: str
) -> Plan:
    """Plan for one agent; `trace` is for an episode that begins now."""
    history = before if before.wished_ts == seen.wished_ts else History(wished_ts=seen.wished_ts)
    if seen.busy or seen.known is None or (seen.recovering and not seen.runs):
        return Plan(history)
    problem = problem_of(seen)
    if problem is None:
        return _as_wished(seen, history, rules, leave, now_s, trace)
    history = replace(history, up_s=None)
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
    tried = replace(history, tries=tries, next_s=now_s + rules.wait_s(tries))
    return Plan(tried, heal=_MENDS[problem.what], noticed=noticed)


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
