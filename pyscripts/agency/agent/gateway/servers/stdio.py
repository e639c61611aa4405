"""MCP over the standard streams of a program, bounded: the SDK's own transport has no bound.

A message is one line of at most MAX_LINE bytes, and a program that writes faster than FLOOD allows
is ended. It runs in a session of its own, dies with the gateway (PR_SET_PDEATHSIG), sees nothing of
the gateway (fence.py), has the environment that it was given and no other, and what it says on
standard error is kept in a small window for the gateway's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage, JSONRPCNotification
from pydantic import ValidationError

from agency.agent.gateway.servers.fence import Fence
from agency.children import stat_fields
from agency.clock import Clock
from agency.ending import dropped
from agency.errors import AgencyError, PrerequisiteError
from agency.programs import Bounds, find_program

MAX_LINE = 2 * 1024 * 1024
FLOOD_BURST = 16 * 1024 * 1024  # bytes at once
FLOOD_PER_S = 2 * 1024 * 1024  # and in the long run
TOOLS_CHANGED = "notifications/tools/list_changed"
_GRACE_S = 1.0
_KILL_S = 5.0
_WINDOW = 2000
MEMORY_BYTES = 1024**3
# Only root has any; with CAP_PERFMON the kernel shows it what Landlock keeps back.
_NO_RIGHTS = ("--bounding-set=-all", "--inh-caps=-all")

Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


class FloodError(AgencyError):
    """A server that writes more than it may."""


@dataclass(frozen=True, slots=True)
class Program:
    """Command that starts a server; `env` is its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    fence: Fence
    bounds: Bounds = field(default_factory=lambda: Bounds(data_bytes=MEMORY_BYTES))


@dataclass(slots=True)
class Said:
    """Reason why a server's line ended, and the end of what it wrote to standard error.

    `wake` is set when it ended, and when it says that its tools changed.
    """

    fault: str = ""
    window: bytes = b""
    pid: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, fault: str) -> None:
        """Note why it ended; the first reason counts."""
        self.fault = self.fault or fault
        self.wake.set()

    def keep(self, chunk: bytes) -> None:
        """Add to the window."""
        self.window = (self.window + chunk)[-_WINDOW:]


class _Meter:
    """Token bucket of bytes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._level = float(FLOOD_BURST)
        self._seen = clock.steady()

    def take(self, size: int) -> bool:
        now = self._clock.steady()
        self._level = min(FLOOD_BURST, self._level + (now - self._seen) * FLOOD_PER_S) - size
        self._seen = now
        return self._level >= 0


@asynccontextmanager
async def talk(program: Program, said: Said, clock: Clock) -> AsyncIterator[Streams]:
    """Start a program and speak MCP with it; it is ended, with its session, at the end.

    Raises:
        PrerequisiteError: it cannot be started.
    """
    process = await _start(program)
    said.pid = process.pid
    to_us, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, from_us = anyio.create_memory_object_stream[SessionMessage](0)
    work = [
        asyncio.create_task(_read(process, to_us, said, clock), name="mcp read"),
        asyncio.create_task(_write(process, from_us), name="mcp write"),
        asyncio.create_task(_drain(process, said), name="mcp errors"),
    ]
    try:
        yield received, sent
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for stream in (to_us, received, sent, from_us):
            stream.close()
        await _end(process)


async def _start(program: Program) -> asyncio.subprocess.Process:
    if shutil.which(program.argv[0], path=program.env.get("PATH")) is None:
        raise PrerequisiteError(
            "its program does not exist, or may not be executed",
            hint="install it on this machine, or name it by its absolute path",
        )
    setpriv = find_program("setpriv", hint="install util-linux")
    fenced = (*program.bounds.prefix(), *program.fence.prefix(), *program.argv)
    rights = _NO_RIGHTS if os.geteuid() == 0 else ()
    argv = [setpriv, "--pdeathsig", "KILL", *rights, "--", *fenced]
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(program.env),
            cwd=program.cwd,
            start_new_session=True,
            limit=MAX_LINE,
        )
    except OSError as error:
        raise PrerequisiteError(f"cannot be started: {error.strerror or error}") from error


async def _read(
    process: asyncio.subprocess.Process,
    to_us: MemoryObjectSendStream[SessionMessage | Exception],
    said: Said,
    clock: Clock,
) -> None:
    """Hand on each message; the end of the stream is the end of the session."""
    assert process.stdout is not None
    meter = _Meter(clock)
    with to_us, contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            try:
                line = await process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return said.end("it ended")
            except asyncio.LimitOverrunError:
                return said.end(f"it wrote a message of more than {MAX_LINE} bytes")
            if not meter.take(len(line)):
                return said.end("it floods the gateway")
            try:
                message = JSONRPCMessage.model_validate_json(line)
            except (ValidationError, RecursionError):
                return said.end("it wrote a line that is no message")
            if _is_wanted(message):
                await to_us.send(SessionMessage(message))


def _is_wanted(message: JSONRPCMessage) -> bool:
    """Leave out what servers tell of themselves: nobody reads it, and the SDK logs what is odd."""
    told = message.root
    return not isinstance(told, JSONRPCNotification) or told.method == TOOLS_CHANGED


async def _write(
    process: asyncio.subprocess.Process, from_us: MemoryObjectReceiveStream[SessionMessage]
) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        async with from_us:
            async for each in from_us:
                text = each.message.model_dump_json(by_alias=True, exclude_none=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()


async def _drain(process: asyncio.subprocess.Process, said: Said) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(4096):
        said.keep(chunk)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, give it a moment, then kill its whole session."""
    if process.stdin is not None:
        process.stdin.close()
    async with dropped(process):
        await _ends(process, _GRACE_S)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        # What it left behind keeps the session's id from being used again.
        for pid in _session_of(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await _ends(process, _KILL_S)


async def _ends(process: asyncio.subprocess.Process, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await process.wait()


def _session_of(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if int(stat_fields(int(entry.name))[3]) == leader:
                    found.append(int(entry.name))
    return found
