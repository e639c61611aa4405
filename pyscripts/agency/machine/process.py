"""Programs of this machine that lead to another: one that ends, or one that answers lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from agency.ending import ended
from agency.machine.machine import MAX_LINE, Completed, MachineError

MAX_OUTPUT = 4 * 1024 * 1024

_CHUNK = 64 * 1024
_END_S = 2.0
_PIPE = asyncio.subprocess.PIPE


async def run(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    stdin: bytes,
    timeout_s: float,
    *,
    most: int = MAX_OUTPUT,
) -> Completed:
    """Run a program on this machine to its end, or to TimeoutError; it has ended in both cases.

    Keep the first `most` bytes of each stream.
    """
    async with started(argv, env) as process:
        out, err = Kept(most), Kept(most)
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(
                _feed(process.stdin, stdin), out.take(process.stdout), err.take(process.stderr)
            )
            status = await process.wait()
    return Completed(status, bytes(out.data), bytes(err.data), out.truncated or err.truncated)


@contextlib.asynccontextmanager
async def started(
    argv: tuple[str, ...], env: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program of this machine for the length of the block, with its streams open."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=_PIPE, stdout=_PIPE, stderr=_PIPE, env=dict(env), limit=MAX_LINE
    )
    with contextlib.ExitStack() as stack:
        # Process.kill takes the exit status of one that has just ended from who waits for it.
        handle = None
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(process.pid)
            stack.callback(os.close, handle)
        try:
            yield process
        finally:
            if handle is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            await asyncio.shield(ended(process))


async def _feed(stream: asyncio.StreamWriter | None, data: bytes) -> None:
    if stream is None:
        return
    with contextlib.suppress(ConnectionError):  # a program need not read its input
        stream.write(data)
        await stream.drain()
    stream.close()


@dataclass(slots=True)
class Kept:
    """Beginning of a stream; the rest is read and dropped, so that the program does not block."""

    most: int = MAX_OUTPUT
    data: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def add(self, chunk: bytes) -> None:
        """Keep what there is room for."""
        room = self.most - len(self.data)
        self.data += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room

    async def take(self, stream: asyncio.StreamReader | None) -> None:
        """Read a stream to its end."""
        while stream is not None and (chunk := await stream.read(_CHUNK)):
            self.add(chunk)


@dataclass(slots=True)
class Lines:
    """Dialogue with a program on this machine, for example ssh."""

    _where: str
    _stdin: asyncio.StreamWriter
    _stdout: asyncio.StreamReader
    _errors: asyncio.Task[None]
    _said: Kept

    async def ask(self, line: bytes, *, timeout_s: float) -> bytes:
        """Send a line and read the next one, both without line ends."""
        try:
            async with asyncio.timeout(timeout_s):
                self._stdin.write(line + b"\n")
                await self._stdin.drain()
                return (await self._stdout.readuntil(b"\n"))[:-1]
        except TimeoutError as error:
            raise MachineError(f"no answer within {timeout_s:g} s", where=self._where) from error
        except asyncio.LimitOverrunError as error:
            raise MachineError("its answer is too long", where=self._where) from error
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise await self._ended() from error

    async def _ended(self) -> MachineError:
        await asyncio.wait({self._errors}, timeout=_END_S)
        said = tuple(self._said.data.decode(errors="replace").splitlines()[-15:])
        last = f": {said[-1]}" if said else ""
        return MachineError(f"it has ended{last}", where=self._where, log_tail=said)


@contextlib.asynccontextmanager
async def talk(process: asyncio.subprocess.Process, where: str) -> AsyncIterator[Lines]:
    """Talk with a program that was started; `where` names it in errors."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a program was started without its streams")
    said = Kept()
    errors = asyncio.create_task(said.take(process.stderr))
    try:
        yield Lines(where, process.stdin, process.stdout, errors, said)
    finally:
        process.stdin.close()
        errors.cancel()
        await asyncio.gather(errors, return_exceptions=True)


@contextlib.asynccontextmanager
async def dialogue(
    argv: tuple[str, ...], env: Mapping[str, str], where: str
) -> AsyncIterator[Lines]:
    """Run a program of this machine for the length of the block; `where` names it in errors."""
    async with started(argv, env) as process, talk(process, where) as lines:
        yield lines
