"""Answers to changes, kept by idempotency key, so that a retry never does a thing twice.

    request ── key, path, body ──▶ known? ── no ──▶ run once ──▶ keep the answer
                                   └── yes, same path and body ──▶ the same answer, or wait for it
                                   └── yes, another path or body ──▶ KeyReusedError

Kept in memory, within bounds on number, size and age, and carried over a restart by ACP. A crash
loses them: the control plane sees another `incarnation` and observes before it acts.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from agency.canonical import sha256_hex
from agency.clock import Clock

MOST = 256
_MOST_BYTES = 4 * 1024 * 1024
_KEEP_S = 3600.0
# With these nothing was done, so the same key may try again.
_NOT_DONE = frozenset({500, 501, 503})


class KeyReusedError(Exception):
    """A key that came before with another path or body."""


class TooManyChangesError(Exception):
    """As many changes as may run at once do so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a change."""

    status: int
    body: bytes


class CarriedAnswer(BaseModel):
    """A kept answer as it is carried over a restart; `kept_at` is wall time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    digest: str
    status: int
    body: str
    kept_at: float


@dataclass(slots=True)
class _Entry:
    digest: str
    kept_at: float
    work: asyncio.Task[Answer] | None
    answer: Answer | None = None


def change_digest(method: str, path: str, body: bytes) -> str:
    """Compute what a key is bound to: method, path with query, and the bytes of the body."""
    return sha256_hex(f"{method}\0{path}\0{sha256_hex(body)}".encode(errors="surrogateescape"))


class Answers:
    """Answers by key; see the module's diagram."""

    def __init__(self, clock: Clock, *, most: int = MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def once(self, key: str, digest: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run `work` unless the key is known; return its answer.

        `work` goes on when the caller is gone, so that a retry gets its answer.

        Raises:
            KeyReusedError: the key belongs to another digest.
            TooManyChangesError: all kept entries still run.
        """
        self._drop_old()
        entry = self._entries.get(key)
        if entry is None:
            self._make_room()
            task = asyncio.ensure_future(_run(work))
            entry = self._entries[key] = _Entry(digest, self._clock.wall(), task)
            task.add_done_callback(lambda done: self._keep(key, done))
        if entry.digest != digest:
            raise KeyReusedError
        if entry.answer is not None:
            return entry.answer
        assert entry.work is not None
        return await asyncio.shield(entry.work)

    def carried(self) -> tuple[CarriedAnswer, ...]:
        """Return the kept answers, oldest first."""
        self._drop_old()
        return tuple(
            CarriedAnswer(
                key=key,
                digest=entry.digest,
                status=entry.answer.status,
                body=base64.b64encode(entry.answer.body).decode(),
                kept_at=entry.kept_at,
            )
            for key, entry in self._entries.items()
            if entry.answer is not None
        )

    def restore(self, carried: tuple[CarriedAnswer, ...]) -> None:
        """Keep what a predecessor carried over."""
        for each in carried:
            answer = Answer(each.status, base64.b64decode(each.body))
            self._entries[each.key] = _Entry(each.digest, each.kept_at, None, answer)

    async def close(self) -> None:
        """Cancel what still runs."""
        works = [e.work for e in self._entries.values() if e.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _keep(self, key: str, done: asyncio.Task[Answer]) -> None:
        entry = self._entries[key]
        entry.work = None
        if done.cancelled() or done.exception() is not None or done.result().status in _NOT_DONE:
            del self._entries[key]
            return
        entry.answer = done.result()
        self._shrink()

    def _shrink(self) -> None:
        kept = [(key, e.answer) for key, e in self._entries.items() if e.answer is not None]
        size = sum(len(answer.body) for _, answer in kept)
        for key, answer in kept:
            if size <= self._most_bytes:
                return
            del self._entries[key]
            size -= len(answer.body)

    def _make_room(self) -> None:
        if len(self._entries) < self._most:
            return
        for key, entry in self._entries.items():
            if entry.answer is not None:
                del self._entries[key]
                return
        raise TooManyChangesError

    def _drop_old(self) -> None:
        oldest = self._clock.wall() - _KEEP_S
        for key in [k for k, e in self._entries.items() if e.answer and e.kept_at < oldest]:
            del self._entries[key]


async def _run(work: Callable[[], Awaitable[Answer]]) -> Answer:
    return await work()
