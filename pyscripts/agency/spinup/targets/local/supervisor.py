"""Supervisor of services: starts them in order, knows when each is ready, stops them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agency.children import Child, ChildSpec, start_child
from agency.errors import AgencyError

Ready = Callable[[], Awaitable[bool]]

_LOG_LINES = 30
_LOG_BYTES = 16 * 1024


def nothing() -> None:
    """Prepare nothing, for a service that needs no preparation."""


class ServiceError(AgencyError):
    """A service did not start, did not become ready, or ended while it was needed.

    `log_tail` holds the last lines of its log.
    """

    def __init__(self, message: str, service: str, child: Child) -> None:
        super().__init__(message, where=service, hint="the end of its log says why")
        self.service = service
        self.log_tail = child.log_tail(_LOG_LINES, _LOG_BYTES)


@dataclass(frozen=True, slots=True)
class Service:
    """Long-running program, and the question that tells whether it is ready.

    `prepare` is called before each start.
    """

    spec: ChildSpec
    ready: Ready
    ready_timeout_s: float
    prepare: Callable[[], None] = nothing


@dataclass(slots=True)
class Supervisor:
    """Running services of one run, whose processes all carry `marker`."""

    marker: str
    poll_s: float = 0.02
    stop_timeout_s: float = 8.0
    _running: dict[str, tuple[Service, Child]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def launch(self, service: Service) -> Child:
        """Start a service and leave it to become ready; see `ready`."""
        service.prepare()
        child = await start_child(service.spec, marker=self.marker)
        self._running[service.spec.name] = (service, child)
        self._changed.set()
        return child

    async def ready(self, name: str) -> Child:
        """Wait until a service that was launched is ready; its time counts from this call.

        Raises:
            ServiceError: it ended or did not become ready in time.
        """
        service, child = self._running[name]
        deadline = asyncio.get_running_loop().time() + service.ready_timeout_s
        while not await service.ready():
            _raise_if_ended(name, child)
            if asyncio.get_running_loop().time() > deadline:
                raise ServiceError(f"not ready within {service.ready_timeout_s:g} s", name, child)
            await asyncio.sleep(self.poll_s)
        _raise_if_ended(name, child)
        return child

    async def start(self, service: Service) -> Child:
        """Start a service and wait until it is ready; raises as `ready` does."""
        await self.launch(service)
        return await self.ready(service.spec.name)

    async def watch(self) -> None:
        """Return never; raise ServiceError as soon as a running service ends by itself.

        Services that are started or stopped meanwhile are taken in or left out.
        """
        while True:
            self._changed.clear()
            waits = {
                asyncio.ensure_future(child.wait()): (name, child)
                for name, child in self.children().items()
            }
            change = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({*waits, change}, return_when=asyncio.FIRST_COMPLETED)
                for task, (name, child) in waits.items():
                    if task.done() and self.children().get(name) is child:
                        _raise_if_ended(name, child)
            finally:
                for task in (*waits, change):
                    task.cancel()

    def children(self) -> dict[str, Child]:
        """List the services started and not stopped, by name, in the order of their start."""
        return {name: child for name, (_, child) in self._running.items()}

    async def restart(self, name: str) -> Child:
        """Start a service again, after it ended or was stopped.

        Raises:
            ServiceError: it did not become ready.
        """
        service, _ = self._running[name]
        await self.stop(name)
        return await self.start(service)

    async def stop(self, name: str) -> None:
        """Stop one service and forget it."""
        _, child = self._running.pop(name)  # first: an end that was asked for is no surprise
        self._changed.set()
        await child.stop(self.stop_timeout_s)

    async def stop_all(self) -> None:
        """Stop every service at once; the last started is asked first.

        Raises:
            ChildError: one does not end; the others did.
        """
        while self._running:
            stops = [self.stop(name) for name in reversed([*self._running])]
            for ended in await asyncio.gather(*stops, return_exceptions=True):
                if ended is not None:
                    raise ended


def _raise_if_ended(name: str, child: Child) -> None:
    if child.exit_status is not None:
        message = f"ended with exit status {child.exit_status} while it was needed"
        raise ServiceError(message, name, child)
