"""Running a program in an instance: its three streams travel over websockets.

The server ends a stream with an empty text message, and takes one as the end of standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from agency.guests.incus.errors import IncusError, IncusTimeoutError, IncusUnreachableError
from agency.guests.incus.transport import Transport
from agency.machine import MAX_LINE, MAX_OUTPUT, Completed, MachineError

_CHUNK = 64 * 1024
_CONNECT_S = 15.0
_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run in a guest: never a shell string. Paths in `env` are the guest's.

    Secrets may travel by standard input only.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int = 0
    gid: int = 0

    def body(self) -> dict[str, object]:
        """The request of POST /1.0/instances/<name>/exec."""
        return {
            "command": list(self.argv),
            "environment": {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **self.env},
            "user": self.uid,
            "group": self.gid,
            "cwd": "/",
            "interactive": False,
            "wait-for-websocket": True,
        }


# The last two are where NixOS has programs.
_PATH = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ":/run/wrappers/bin:/run/current-system/sw/bin"
)


@dataclass(slots=True)
class Streams:
    """The open streams of a program that runs in a guest."""

    transport: Transport
    operation: str
    where: str
    control: aiohttp.ClientWebSocketResponse
    stdin: aiohttp.ClientWebSocketResponse
    stdout: aiohttp.ClientWebSocketResponse
    stderr: aiohttp.ClientWebSocketResponse

    async def write(self, data: bytes) -> None:
        """Give the program input."""
        for start in range(0, len(data), _CHUNK):
            await self.stdin.send_bytes(data[start : start + _CHUNK])

    async def end_input(self) -> None:
        """Close the program's standard input."""
        with contextlib.suppress(ConnectionError):  # it ended already
            await self.stdin.send_str("")

    async def kill(self) -> None:
        """End the program at once; what it started itself is not reached."""
        message = {"command": "signal", "signal": int(signal.SIGKILL)}
        with contextlib.suppress(ConnectionError):
            await self.control.send_str(json.dumps(message))

    async def exit_status(self, timeout_s: float) -> int:
        """Wait for the end of the program."""
        ended = await self.transport.finish(self.operation, timeout_s=timeout_s, where=self.where)
        return int((ended.get("metadata") or {}).get("return", -1))


async def chunks(stream: aiohttp.ClientWebSocketResponse) -> AsyncIterator[bytes]:
    """What a stream brings, until its end.

    Pings are not answered: Incus asks for no answer, and one that is written after Incus has closed
    its side makes asyncio drop what had come and was not yet read.

    Raises:
        ConnectionError: it broke before its end, so that something may be missing.
    """
    async for message in stream:
        if message.type is aiohttp.WSMsgType.BINARY:
            yield message.data
        elif message.type is aiohttp.WSMsgType.TEXT and not message.data:
            return
    raise ConnectionError("the stream ended without saying so")


@contextlib.asynccontextmanager
async def open_streams(transport: Transport, name: str, command: Command) -> AsyncIterator[Streams]:
    """Start a program in an instance; leaving ends it if it still runs."""
    where = f"{name}: {command.argv[0]}"
    path = f"/1.0/instances/{name}/exec"
    operation = await transport.begin("POST", path, command.body(), where=where)
    identity, secrets = str(operation["id"]), operation["metadata"]["fds"]
    async with contextlib.AsyncExitStack() as stack:
        opened: dict[str, aiohttp.ClientWebSocketResponse] = {}
        try:
            async with asyncio.timeout(_CONNECT_S):
                for key in ("control", "0", "1", "2"):
                    url = f"http://incus/1.0/operations/{identity}/websocket?secret={secrets[key]}"
                    connecting = transport.session.ws_connect(url, max_msg_size=0, autoping=False)
                    opened[key] = await stack.enter_async_context(connecting)
        except TimeoutError as error:
            raise IncusTimeoutError(
                "its streams could not be opened in time", where=where
            ) from error
        except aiohttp.ClientError as error:
            # Neither its message nor itself: both hold the address, which holds a secret.
            status = f" {error.status}" if isinstance(error, aiohttp.ClientResponseError) else ""
            raise IncusError(
                f"its streams could not be opened: {type(error).__name__}{status}", where=where
            ) from None
        streams = Streams(
            transport, identity, where, opened["control"], opened["0"], opened["1"], opened["2"]
        )
        try:
            yield streams
        except BaseException:
            await asyncio.shield(_abandon(streams))
            raise


async def _abandon(streams: Streams) -> None:
    with contextlib.suppress(IncusError, IncusUnreachableError):
        await streams.kill()
        await streams.exit_status(_KILL_WAIT_S)


async def run(
    transport: Transport,
    name: str,
    command: Command,
    *,
    stdin: bytes = b"",
    timeout_s: float,
) -> Completed:
    """Run a program to its end.

    Raises:
        IncusTimeoutError: it did not end in time; it has been killed.
        IncusError: it could not be started, such as a program or user that does not exist, or
            its output was lost.
    """
    try:
        async with asyncio.timeout(timeout_s), open_streams(transport, name, command) as streams:
            kept_out, kept_err = _Kept(), _Kept()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_feed(streams, stdin))
                tasks.create_task(kept_out.take(streams.stdout))
                tasks.create_task(kept_err.take(streams.stderr))
                status = await streams.exit_status(timeout_s)
    except TimeoutError as error:
        raise IncusTimeoutError(
            f"did not end within {timeout_s:g} s", where=f"{name}: {command.argv[0]}"
        ) from error
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, ConnectionError):
            raise IncusError(
                f"its output was lost: {first}", where=f"{name}: {command.argv[0]}"
            ) from first
        raise first from group
    return Completed(
        status,
        bytes(kept_out.data),
        bytes(kept_err.data),
        truncated=kept_out.truncated or kept_err.truncated,
    )


@dataclass(slots=True)
class _Kept:
    """The beginning of a stream; the rest is read and dropped, so that the program goes on."""

    data: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    async def take(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        async for chunk in chunks(stream):
            room = MAX_OUTPUT - len(self.data)
            self.data += chunk[:room]
            self.truncated = self.truncated or len(chunk) > room


async def _feed(streams: Streams, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # a program need not read its input
        await streams.write(data)
    await streams.end_input()


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
