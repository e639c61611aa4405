"""The reconciler's memory of one agent, and the limits by which it acts. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Difference(StrEnum):
    """Difference of an agent from its wish."""

    ALTERED = "altered"  # it held another document than it was given
    DEAD = "dead"  # it is to run, and does not
    DRIFTED = "drifted"  # it runs with another configuration than the one that it should have
    SILENT = "silent"  # it runs, and does not answer
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
class Holding:
    """Attempts so that one run of an agent holds the newest version of its document.

    In memory only: another run holds nothing that this one was given.

    Attributes:
        run: The agent's incarnation.
        newest: The digest of the version that it is to hold.
        pushes: How often it was given, since it last held it for long.
        next_s: When it may be given again.
        right_s: Since when it is seen to hold it; None if it holds another one, or none.
        had: It was seen to hold it.
        altered: How it came to hold what nobody gave it, until the room is told; then empty.
        told: The room knows that it held what nobody gave it.
    """

    run: str = ""
    newest: str = ""
    pushes: int = 0
    next_s: float = 0.0
    right_s: float | None = None
    had: bool = False
    altered: Episode | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Attempts with an agent since its wish was put on record at `wished_ts`.

    A newer wish begins a new history. `tries` counts those in a row that did not last. `next_s` and
    `up_s` are of the steady clock, so they are not kept: when it may be tried again, and since when
    the agent is seen as wished. Nor is `silent`, the number of looks in a row that its process with
    the handle `silent_as` did not answer, of which the last was at `silent_s`, nor `holding`.
    """

    wished_ts: int = 0
    tries: int = 0
    episode: Episode | None = None
    given_up: bool = False
    next_s: float = 0.0
    up_s: float | None = None
    silent: int = 0
    silent_s: float = 0.0
    silent_as: str | None = None
    holding: Holding = Holding()

    @property
    def kept(self) -> History:
        """The part that is kept in the store."""
        return replace(
            self, next_s=0, up_s=None, silent=0, silent_s=0, silent_as=None, holding=Holding()
        )

    @property
    def is_without_document(self) -> bool:
        """True if the agent runs as wished, was given a document, and does not hold it."""
        holding = self.holding
        return self.up_s is not None and holding.pushes > 0 and holding.right_s is None

    @property
    def is_trusted(self) -> bool:
        """True if the agent holds its document, and has done so since it was first given it."""
        return self.holding.right_s is not None and self.holding.pushes <= 1

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to keep."""
        return not self.tries and self.episode is None and not self.given_up


@dataclass(frozen=True, slots=True)
class Respawns:
    """Limits: the wait doubles from try to try; after `most` tries in a row an agent is left so.

    An agent that is as wished for `stable_s` begins anew. One that runs is silent if it did not
    answer at `unheard` looks in a row, of which two closer than `apart_s` are one.
    """

    most: int = 5
    first_s: float = 10.0
    longest_s: float = 600.0
    stable_s: float = 600.0
    unheard: int = 3
    apart_s: float = 0.0

    def wait_s(self, tries: int) -> float:
        """Return the wait after that many tries."""
        return min(self.longest_s, self.first_s * 2.0 ** min(tries - 1, 32))
