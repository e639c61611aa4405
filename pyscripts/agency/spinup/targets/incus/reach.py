"""A guest as a machine that a spin-up looks at: everything travels through Incus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from agency.guests.incus.execution import Command, Streams, chunks
from agency.guests.machines.forward import forward
from agency.guests.machines.machine import Guest
from agency.machine.completed import Completed
from agency.machine.machine import LOOK_S, MAX_LINE, Dialogue, MachineError
from agency.spinup.suite.runner import incus_host

_ROOT_UID = 0  # whose connections the guest's firewall lets through to every port of ours


@dataclass(slots=True)
class Lines:
    """A dialogue over the streams of a program in a guest."""

    streams: Streams
    _unread: bytearray = field(default_factory=bytearray)

    async def ask(self, line: bytes, *, timeout_s: float) -> bytes:
        """See Dialogue."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.streams.write(line + b"\n")
                return await self._line()
        except TimeoutError as error:
            raise MachineError(
                f"no answer within {timeout_s:g} s", where=self.streams.where
            ) from error
        except ConnectionError as error:
            raise MachineError("it has ended", where=self.streams.where) from error

    async def _line(self) -> bytes:
        while b"\n" not in self._unread:
            async for chunk in chunks(self.streams.stdout):
                self._unread += chunk
                break
            else:
                raise MachineError("it has ended", where=self.streams.where)
            if len(self._unread) > MAX_LINE:
                raise MachineError("its answer is too long", where=self.streams.where)
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread[:] = rest
        return line


@dataclass(frozen=True, slots=True)
class GuestMachine:
    """See remote.machine.Machine."""

    guest: Guest

    @property
    def name(self) -> str:
        """See Machine."""
        return self.guest.name

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> Completed:
        """See Machine."""
        return await self.guest.incus.exec(
            self.guest.name, Command(argv), stdin=stdin, timeout_s=timeout_s
        )

    @contextlib.asynccontextmanager
    async def dialogue(self, *argv: str) -> AsyncIterator[Dialogue]:
        """See Machine."""
        async with self.guest.incus.streams(self.guest.name, Command(argv)) as streams:
            try:
                yield Lines(streams)
            finally:
                await streams.kill()

    def forward(self, port: int) -> AbstractAsyncContextManager[int]:
        """See Machine."""
        return forward(self.guest, port, uid=_ROOT_UID)

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """See Machine."""
        return incus_host(self.guest)
