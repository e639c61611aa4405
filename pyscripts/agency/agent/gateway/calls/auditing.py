"""Audit rows of calls, written before a call is made: without them, no call.

A row after a call that cannot be written is owed: it is written before the next call's own, which
is refused as long as rows are owed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Protocol

from agency.errors import AgencyError
from agency.protocols import AuditRefusedError, AuditUnreachableError, Receipt

_MOST_OWED = 64
_TRIES = 4
_PAUSE_S = 0.5

_log = logging.getLogger(__name__)


class NotRecordedError(AgencyError):
    """Refusal to act without a record of it."""


class AuditLog(Protocol):
    """The part of `AuditClient` that is used here."""

    async def record(self, event: str, detail: dict[str, Any]) -> Receipt:
        """Put one event on record."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class Auditor:
    """Writer of rows, one at a time; `client` is None on a machine that keeps no audit log."""

    def __init__(self, client: AuditLog | None, *, pause_s: float = _PAUSE_S) -> None:
        self._client = client
        self._pause_s = pause_s
        self._lock = asyncio.Lock()
        self._owed: deque[tuple[str, dict[str, Any]]] = deque()

    @property
    def keeps(self) -> bool:
        """True if there is an audit log."""
        return self._client is not None

    async def before(self, event: str, **detail: object) -> None:
        """Write a row, after those that are owed.

        Raises:
            NotRecordedError: one of them could not be written.
        """
        async with self._lock:
            try:
                while self._owed:
                    await self._send(*self._owed[0])
                    self._owed.popleft()
                await self._send(event, _told(detail))
            except AgencyError as error:
                raise NotRecordedError(
                    f"the call cannot be put on record: {error.message}", hint=error.hint
                ) from error

    async def after(self, event: str, **detail: object) -> None:
        """Write a row about what was done; if that fails, it is owed."""
        row = (event, _told(detail))
        async with self._lock:
            if not self._owed:
                try:
                    await self._send(*row)
                except AgencyError as error:
                    _log.warning("a row is owed to the audit log: %s", error.message)
                else:
                    return
            if len(self._owed) >= _MOST_OWED:  # each call adds one, and none is made while any is
                _log.error("a row of the audit log is lost", extra={"fields": dict(row[1])})
                return
            self._owed.append(row)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def _send(self, event: str, detail: dict[str, Any]) -> None:
        if self._client is None:
            return
        for left in reversed(range(_TRIES)):
            try:
                await self._client.record(event, detail)
            except (AuditUnreachableError, AuditRefusedError):  # restarted, or its rate is reached
                if not left:
                    raise
                await asyncio.sleep(self._pause_s)
            else:
                return


def _told(detail: dict[str, object]) -> dict[str, Any]:
    return {key: value for key, value in detail.items() if value is not None}
