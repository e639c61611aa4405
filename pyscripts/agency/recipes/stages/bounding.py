"""Bounds of one suite's processes together; at its end nothing of them is left.

suite ─▶ control group: tasks, memory           (where one can be made)
      ├▶ a look twice a second: a limit is reached, or its memory, where the group does not hold it
      └▶ the run's mark in the environment       (what is left where there is no group)
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agency.children import kill_marked
from agency.recipes.stages.cgroup import Cgroup, Limits, end_groups, hierarchies, make

_LOOK_S = 0.5
_JOIN_S = 10.0
_MIB = 1024**2


@dataclass(slots=True)
class Bounded:
    """Processes of a suite; `prefix` is the begin of its argv."""

    group: Cgroup | None
    limits: Limits
    killed: int = field(default=0, init=False)
    _over: str = field(default="", init=False)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before the program's absolute path, by which it enters its group."""
        if self.group is None:
            return ()
        entering = (sys.executable, "-m", "agency.recipes.stages.entering")
        return (*entering, *self.group.entrances, "--")

    def exceeded(self) -> str:
        """Say which limit it reached; empty if none."""
        return self._over or (self.group.exceeded() if self.group else "")

    def look(self) -> None:
        """End the suite if it reached a limit: what forks without end does not end by itself."""
        group = self.group
        if group is None:
            return
        if not group.holds_memory and group.memory_bytes() > self.limits.memory_bytes:
            self._over = f"it wanted more than {self.limits.memory_bytes // _MIB} MiB of memory"
        if self.exceeded():
            group.kill()


@contextmanager
def bounded(run: str, limits: Limits) -> Iterator[Bounded]:
    """Bound a suite for the length of a block, and end what is left of it."""
    name = f"{_beginning(run)}{os.getpid()}-{secrets.token_hex(3)}"
    suite = Bounded(make(name, limits, hierarchies()), limits)
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(suite, ended), name="bounds", daemon=True)
    watch.start()
    try:
        yield suite
    finally:
        ended.set()
        watch.join(_JOIN_S)
        suite._over = suite.exceeded()  # noqa: SLF001 - the group is gone after this
        if suite.group is not None:
            suite.killed = suite.group.end()
        suite.killed += len(kill_marked(run, 0.0))
        suite.group = None


def end_left(run: str, grace_s: float) -> None:
    """End whatever a run has left running: by its mark, and what is in its control groups.

    Raises:
        AgencyError: some of it does not end.
    """
    kill_marked(run, grace_s)
    end_groups(_beginning(run), hierarchies())


def _beginning(run: str) -> str:
    return f"agency-{run}-"


def _watch(suite: Bounded, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_S):
        suite.look()
