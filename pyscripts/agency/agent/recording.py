"""An agent's records of its own activity, made without ever blocking the agent.

Events go through a bounded queue to the audit log's service. An event is lost if the queue is full
or the service does not accept it. When the service next answers, the number of lost events is put
on record; the agent's log gives the reason.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Self

from agency.errors import AgencyError
from agency.protocols import AuditAbsentError, AuditClient, AuditUnreachableError

_CAPACITY = 256
_TRIES = 3
_PAUSE_S = 0.5  # the service is restarted within seconds
_CLOSE_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    detail: dict[str, Any]


class Recorder:
    """Sender of events to the audit log, in order; `lost` counts the lost ones."""

    def __init__(
        self, client: AuditClient, *, capacity: int = _CAPACITY, pause_s: float = _PAUSE_S
    ) -> None:
        self.lost = 0
        self._client = client
        self._pause_s = pause_s
        self._queue: asyncio.Queue[_Event] = asyncio.Queue(capacity)
        self._worker: asyncio.Task[None] | None = None
        self._said = ""

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Deliver the waiting events, for a second at most."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._queue.join()
        except TimeoutError:
            waiting = self._queue.qsize() + 1
            _log.warning("ended with events not on record", extra={"fields": {"events": waiting}})
        assert self._worker is not None
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self._client.close()

    def put(self, event: str, **detail: Any) -> None:
        """Queue an event without waiting. Facts that are None are left out."""
        try:
            self._queue.put_nowait(
                _Event(event, {key: value for key, value in detail.items() if value is not None})
            )
        except asyncio.QueueFull:
            self.lost += 1

    async def _work(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._deliver(event)
            except Exception:  # noqa: BLE001 - the outermost edge of the worker; it is logged whole
                self.lost += 1
                _log.exception("an event could not be put on record")
            finally:
                self._queue.task_done()

    async def _deliver(self, event: _Event) -> None:
        try:
            if lost := self.lost:
                await self._send("audit.lost", {"events": lost})
                self.lost -= lost
            await self._send(event.name, event.detail)
        except AgencyError as error:
            self.lost += 1
            self._say(error)
        else:
            if self._said:
                self._said = ""
                _log.info("events are put on record again")

    async def _send(self, name: str, detail: dict[str, Any]) -> None:
        """Send one event; a broken connection means a second attempt, and maybe a second record."""
        for _ in range(_TRIES - 1):
            try:
                await self._client.record(name, detail)
            except AuditUnreachableError:
                await asyncio.sleep(self._pause_s)
            else:
                return
        await self._client.record(name, detail)

    def _say(self, error: AgencyError) -> None:
        if self._said == error.message:
            return
        self._said = error.message
        level = logging.INFO if isinstance(error, AuditAbsentError) else logging.WARNING
        fields = {"reason": error.message, "where": error.where, "hint": error.hint}
        _log.log(level, "events are not put on record", extra={"fields": fields})
