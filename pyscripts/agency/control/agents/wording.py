"""Sentences with which the reconciler tells the room of one agent. Pure."""

from __future__ import annotations

from agency.control.agents.history import Difference, Episode, History
from agency.control.agents.seen import Seen


def mended(seen: Seen, episode: Episode, tries: int) -> str:
    """Say that an agent is as wished again; all that happened, if the room knows of nothing."""
    if episode.told:
        many = f", after {tries} attempts" if tries > 1 else ""
        now = "is stopped" if seen.wish.is_down else "runs again"
        return f"{seen.name} {now}{_as(seen)}{many}."
    if episode.what is Difference.UNWANTED:
        return f"{what(seen.name, episode)}, and was stopped: {seen.name} is {seen.wish}."
    done = "was started again" if episode.what is Difference.DEAD else "was restarted"
    by = "" if tries else ", but not by the control plane"
    return f"{what(seen.name, episode)} and {done}{by}{_as(seen)}."


def tried_again(seen: Seen, episode: Episode, wait_s: float) -> str:
    """Say that an agent is not as wished yet."""
    now = f"; now {_it(seen.reason)}" if seen.reason.startswith("did not") else ""
    return (
        f"{what(seen.name, episode)}, and that is not mended yet{now.rstrip('.')}. It is tried "
        f"again in {wait_s:.0f} s, then ever more seldom."
    )


def left_so(seen: Seen, episode: Episode) -> str:
    """Say that safe mode keeps the control plane from mending an agent."""
    return f"{what(seen.name, episode)}. Safe mode is on, so it is left so."


def restarted_elsewhere(seen: Seen) -> str:
    """Say that another process runs than the one on record, and no operation made it."""
    return (
        f"{seen.name} was restarted, but not by the control plane: its handle was "
        f"{seen.known_handle}, and it runs as {seen.running_as}."
    )


def given_again(name: str, episode: Episode, number: int) -> str:
    """Say that an agent holds its document again, and what it held before."""
    return f"{name} had drifted ({episode.reason}), and was given version {number} again."


def given_up(name: str, history: History, last: str) -> str:
    """Say that the control plane tries no more; `last` is how its last attempt failed."""
    episode = history.episode
    about = f"{name} is not as wished" if episode is None else what(name, episode)
    many = "1 attempt" if history.tries == 1 else f"{history.tries} attempts in a row"
    tried = many if history.tries else "no attempt is allowed"
    ended = f" (the last: {_it(last).rstrip('.')})" if last else ""
    return f"{about}, and has failed for good: {tried}{ended}"


def traced(text: str, episode: Episode) -> str:
    """Add the trace id, by which `trace` shows all that was done."""
    return f"{text} Trace: {episode.trace}"


def what(name: str, episode: Episode) -> str:
    """Say how an agent differed from its wish."""
    if episode.what is Difference.UNWANTED:
        return f"{name} ran although it is not to"
    if episode.what is Difference.UNDELETED:
        return f"{name} is to be deleted, and is still there"
    if episode.what is Difference.SILENT:
        return f"{name} ran and did not answer ({episode.reason.rstrip('.')})"
    if episode.what is Difference.DRIFTED:
        return f"{name} had drifted ({episode.reason})"
    return f"{name} died ({episode.reason})" if episode.reason else f"{name} was found stopped"


def _it(reason: str) -> str:
    """Say how an attempt failed: of the agent itself, or of what kept the command from it."""
    return f"it {reason}" if reason.startswith("did not") else reason


def _as(seen: Seen) -> str:
    return f" ({seen.running_as})" if seen.running_as and seen.runs else ""
