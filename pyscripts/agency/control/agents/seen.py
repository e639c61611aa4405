"""One agent, observed and on record, and how it differs from its wish. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agency.control.agents.history import Difference, Episode
from agency.control.runtimes.base import State
from agency.control.wish import Desired, Wish, with_project
from agency.protocols import AgentStatus


@dataclass(frozen=True, slots=True)
class Document:
    """The Gosuto of a running agent: the digest that it reports, and that of the newest version.

    Attributes:
        run: The agent's incarnation.
        held: None if it holds none.
        newest: The digest of version `number`.
        is_version: What it holds is some version of it, be it an old one.
    """

    run: str
    held: str | None
    newest: str
    number: int
    is_version: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """One agent, observed now and on record.

    Attributes:
        wished_ts: When its wish was put on record, in milliseconds since the epoch.
        known: The state on record; None if it was never commanded.
        known_handle: Its handle on record.
        running_as: What its runtime calls it: `pid 42`.
        reason: Why it does not run, if that is known.
        recovering: Its runtime starts it again by itself.
        unheard: Why it does not answer, though it runs; empty if it does, or was not asked.
        drift: How its configuration differs; empty if it does not, or is not known.
        document: None if it does not answer, or has no version.
        busy: An operation of it is under way, or waits.
    """

    name: str
    wish: Wish
    wished_ts: int
    known: str | None
    known_handle: str | None
    state: State
    handle: str | None = None
    running_as: str = ""
    reason: str = ""
    recovering: bool = False
    unheard: str = ""
    drift: str = ""
    document: Document | None = None
    busy: bool = False

    @property
    def runs(self) -> bool:
        """True if its runtime says that it runs."""
        return self.state is State.RUNNING


def problem_of(seen: Seen) -> Episode | None:
    """Return how an agent differs from its wish; None if it does not."""
    if seen.wish.desired is Desired.DELETED:
        return Episode(Difference.UNDELETED, "", "")
    if seen.wish.is_down:
        return Episode(Difference.UNWANTED, "", "") if seen.runs else None
    if not seen.runs:
        return Episode(Difference.DEAD, seen.reason, "")
    if seen.unheard:
        return Episode(Difference.SILENT, seen.unheard, "")
    return Episode(Difference.DRIFTED, seen.drift, "") if seen.drift else None


def is_replaced(seen: Seen) -> bool:
    """Return whether an agent that runs as wished is another process than the one on record."""
    return (
        seen.wish.desired is Desired.RUNNING
        and seen.known == State.RUNNING
        and seen.known_handle is not None
        and seen.handle is not None
        and seen.handle != seen.known_handle
    )


def drift_of(role: str, wish: Wish, told: AgentStatus | None) -> str:
    """Say how what an agent reports differs from its configuration; empty if it does not."""
    if told is None or wish.is_down:
        return ""
    if told.role != role:
        return f"its role is {told.role}, not {role}"
    if told.project != wish.project:
        return f"it has {with_project(told.project)}, not {with_project(wish.project)}"
    return ""
