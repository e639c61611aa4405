"""What the reconciler remembers of one agent, and the limits by which it acts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Difference(StrEnum):
    """How an agent differs from its wish."""

    DEAD = "dead"  # it is to run, and does not
    DRIFTED = "drifted"  # it runs with another configuration than the one that it should have
    UNDELETED = "undeleted"  # it is to be deleted, and is still there
    UNWANTED = "unwanted"  # it runs, and is not to
    REPLACED = "replaced"  # it runs as wished, but another process than the one on record


@dataclass(frozen=True, slots=True)
class Episode:
    """One difference, from when it is seen until it is over.

    `trace` is the trace id of all that is done about it; `told` says that the room knows of it.
    """

    what: Difference
    reason: str
    trace: str
    told: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What was done about an agent since its wish was put on record at `wished_ts`.

    A newer wish begins a new history. `tries` counts those in a row that did not last. `next_s` and
    `up_s` are of the steady clock, so they are not kept: when it may be tried again, and since when
    the agent is seen as wished.
    """

    wished_ts: int = 0
    tries: int = 0
    episode: Episode | None = None
    given_up: bool = False
    next_s: float = 0.0
    up_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to keep."""
        return not self.tries and self.episode is None and not self.given_up


@dataclass(frozen=True, slots=True)
class Respawns:
    """Limits: the wait doubles from try to try; after `most` tries in a row an agent is left so.

    An agent that is as wished for `stable_s` begins anew.
    """

    most: int = 5
    first_s: float = 10.0
    longest_s: float = 600.0
    stable_s: float = 600.0

    def wait_s(self, tries: int) -> float:
        """Return the wait after that many tries."""
        return min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 32))
