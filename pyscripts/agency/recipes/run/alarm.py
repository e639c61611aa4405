"""Deadline of a whole run, by the kernel's timer: no output and no answer puts it off.

It interrupts the stages, never the teardown, which has time limits of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class DeadlineError(KeyboardInterrupt):
    """Deadline reached; like Ctrl-C, no handler of ordinary errors stops it."""


@dataclass(slots=True)
class Alarm:
    """Alarm after `seconds`; `reached` once it rang."""

    seconds: float
    reached: bool = field(default=False, init=False)
    _raises: bool = field(default=False, init=False)

    @contextmanager
    def set(self) -> Iterator[None]:
        """Let it ring once, `seconds` after the begin of the block. Main thread only."""
        before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let it interrupt the block.

        Raises:
            DeadlineError: it rang, or had rung before.
        """
        self._raises = True
        try:
            if self.reached:
                raise DeadlineError
            yield
        finally:
            self._raises = False

    @property
    def told(self) -> str:
        """Reason of whatever it ended."""
        return f"the deadline of the run was reached: {self.seconds:g} s"

    def _ring(self, _number: int, _frame: object) -> None:
        self.reached = True
        if self._raises:
            self._raises = False
            raise DeadlineError
