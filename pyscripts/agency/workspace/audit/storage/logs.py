"""Logs of all agents: opened when needed, kept as long as the retention demands."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from agency.chain import Head
from agency.clock import Clock, iso
from agency.errors import AgencyError
from agency.workspace.audit import record
from agency.workspace.audit.bounds import DAY_S, Bounds
from agency.workspace.audit.record import Sender
from agency.workspace.audit.storage import flags, place
from agency.workspace.audit.storage.log import AgentLog
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.storage.tail import read_tail

_log = logging.getLogger(__name__)


class Logs:
    """Logs of all agents below one directory; files are removed after `retention_days`."""

    def __init__(
        self, directory: Place, clock: Clock, bounds: Bounds, *, retention_days: int
    ) -> None:
        self._place = directory
        self._clock = clock
        self._bounds = bounds
        self._retention_s = retention_days * DAY_S
        self._open: dict[str, AgentLog] = {}
        self._said: set[str | None] = set()

    def append(self, agent: str, sender: Sender, event: str, detail: Mapping[str, Any]) -> Head:
        """Put an agent's event on record. Raises as `AgentLog.append`."""
        return self._of(agent).append(sender, event, detail)

    def open_all(self) -> None:
        """Open every existing log, which repairs it after a crash; log failures."""
        for agent in place.agents_in(self._place.names()):
            try:
                self._of(agent)
            except AgencyError as error:
                _failed(agent, error)

    def housekeep(self) -> None:
        """Close files of earlier days, remove expired ones, and log failures."""
        for agent in place.agents_in(self._place.names()):
            try:
                log = self._of(agent)
                log.rotate_if_old()
                self._expire(log)
            except AgencyError as error:
                _failed(agent, error)
            except OSError as error:
                _failed(agent, place.cannot_read(self._place.path, error))

    def close(self) -> None:
        """Close every file."""
        while self._open:
            self._open.popitem()[1].close()

    def _of(self, agent: str) -> AgentLog:
        log = self._open.get(agent)
        if log is None:
            log = self._open[agent] = AgentLog(self._place, agent, self._clock, self._bounds)
            self._report(log.protection)
        return log

    def _report(self, protection: flags.Protection) -> None:
        if not protection.append_only and protection.reason not in self._said:
            self._said.add(protection.reason)
            _log.warning(
                "the kernel does not keep the log append-only; its hash chain still shows changes",
                extra={"fields": {"reason": protection.reason}},
            )

    def _expire(self, log: AgentLog) -> None:
        """Remove the oldest files; put each removal on record before it is done."""
        oldest = iso(self._clock.wall() - self._retention_s)
        files = place.files_of(log.agent, self._place.names())
        for closed in files.closed:
            descriptor = self._place.open(closed.name)
            try:
                tail = read_tail(descriptor, log.agent)
                if tail.record is None or tail.record.at >= oldest:
                    break  # what follows is younger, and a chain has no holes
                detail = {"file": closed.name, "first": closed.first, "last": closed.last}
                log.note(record.REMOVED, detail | {"hash": tail.record.hash})
                flags.protect(descriptor, 0)
                self._place.unlink(closed.name)
                log.forget(tail.size)
            finally:
                os.close(descriptor)
        for name in files.aside:
            status = os.stat(name, dir_fd=self._place.descriptor, follow_symlinks=False)
            if iso(status.st_mtime) < oldest:
                log.note(record.REMOVED, {"file": name})
                self._place.unlink(name)
        self._place.sync()


def _failed(agent: str, error: AgencyError) -> None:
    _log.error(
        "an agent's log cannot be kept",
        extra={"fields": {"agent": agent, "reason": error.message, "where": error.where}},
    )
