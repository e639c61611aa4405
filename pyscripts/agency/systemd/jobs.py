"""Results of systemd's jobs, which may be announced before their numbers are known."""

from __future__ import annotations

import asyncio

DONE = "done"
LOST = "lost with the connection"
MAX_ENDED = 256  # systemd announces all jobs; the caller asks for its own at once


class Jobs:
    """Jobs that are waited for, and results that no caller has asked for yet."""

    def __init__(self) -> None:
        # systemd gives the same job to all that ask for the same: each waits on its own.
        self._waiting: dict[str, set[asyncio.Future[str]]] = {}
        self._ended: dict[str, str] = {}

    def announce(self, job: str, result: str) -> None:
        """Record a job's end."""
        waiting = self._waiting.pop(job, None)
        if waiting is not None:
            _settle(waiting, result)
            return
        self._ended[job] = result
        while len(self._ended) > MAX_ENDED:
            self._ended.pop(next(iter(self._ended)))

    def end_of(self, job: str) -> asyncio.Future[str]:
        """Wait for the result of a job: "done" when it succeeded."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if job in self._ended:
            future.set_result(self._ended.pop(job))
        else:
            self._waiting.setdefault(job, set()).add(future)
            future.add_done_callback(lambda done: self._forget(job, done))
        return future

    def abandon(self) -> None:
        """Give up all waiting: the connection that would announce the ends is lost."""
        given_up, self._waiting = self._waiting, {}
        for waiting in given_up.values():
            _settle(waiting, LOST)
        self._ended.clear()

    def _forget(self, job: str, future: asyncio.Future[str]) -> None:
        waiting = self._waiting.get(job, set())
        waiting.discard(future)
        if not waiting:
            self._waiting.pop(job, None)


def _settle(waiting: set[asyncio.Future[str]], result: str) -> None:
    for future in [*waiting]:
        if not future.done():
            future.set_result(result)
