"""Memory and processor time of an app's containers, looked at while the stages go on.

Docker keeps no peak that holds on every kernel, so the peak is that of the looks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from agency.docker import DockerError, answers, call, docker_at
from agency.errors import AgencyError
from agency.recipes.facts import ServiceUsage, Usage
from agency.recipes.observe.images import containers, service_of

INTERVAL_S = 2.0
_JOIN_S = 15.0
_MAX_CONTAINERS = 100


@dataclass(frozen=True, slots=True)
class Look:
    """One container as it was seen once; `processor_s` counts from its start."""

    container: str
    service: str
    memory_bytes: int
    processor_s: float


@dataclass(slots=True)
class Ledger:
    """Looks taken together. Pure."""

    samples: int = 0
    peak: int = 0
    peaks: dict[str, int] = field(default_factory=dict)
    processor: dict[str, tuple[str, float]] = field(default_factory=dict)

    def take(self, looks: list[Look]) -> None:
        """Take all containers of one moment."""
        if not looks:
            return
        self.samples += 1
        now: dict[str, int] = {}
        for look in looks:
            now[look.service] = now.get(look.service, 0) + look.memory_bytes
            self.processor[look.container] = (look.service, look.processor_s)
        self.peak = max(self.peak, sum(now.values()))
        for service, memory in now.items():
            self.peaks[service] = max(self.peaks.get(service, 0), memory)

    def usage(self) -> Usage | None:
        """Return the sums; None if nothing was seen."""
        if not self.samples:
            return None
        spent: dict[str, float] = {}
        for service, seconds in self.processor.values():
            spent[service] = spent.get(service, 0.0) + seconds
        services = tuple(
            ServiceUsage(name, peak, spent[name]) for name, peak in sorted(self.peaks.items())
        )
        return Usage(self.peak, sum(spent.values()), self.samples, services)


class Meter:
    """Thread that looks at a stack's containers for the length of a block."""

    def __init__(self, url: str, stack: str, interval_s: float = INTERVAL_S) -> None:
        self._url, self._stack, self._interval_s = url, stack, interval_s
        self._ledger = Ledger()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def usage(self) -> Usage | None:
        """Return what was seen; after the block."""
        return self._ledger.usage()

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self._ledger.take(asyncio.run(self._look()))
            except AgencyError:
                continue  # the stages themselves say that Docker does not answer

    async def _look(self) -> list[Look]:
        found = []
        async with docker_at(self._url) as client:
            for row in (await containers(client, self._url, self._stack))[:_MAX_CONTAINERS]:
                query = {"stream": "false", "one-shot": "true"}
                try:
                    with answers(self._url):
                        told = await call(
                            client, "GET", f"containers/{row['Id']}/stats", params=query
                        )
                except DockerError:  # it ended between the list and this
                    continue
                look = read_stats(row["Id"], service_of(row, self._stack), told)
                if look is not None:
                    found.append(look)
        return found


def read_stats(container: str, service: str, told: Mapping[str, Any]) -> Look | None:
    """Read Docker's answer; without the page cache that the kernel can drop, as `docker stats`.

    None where it has no numbers: the container has ended, or its control groups are not to be read.
    """
    memory = told.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    used = max(0, int(memory.get("usage", 0)) - int(cache))
    spent = ((told.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage", 0)
    return Look(container, service, used, int(spent) / 1e9)
