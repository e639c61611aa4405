"""Client of the command socket: finds the control plane, asks, and asks again after its restart.

find ──▶ connect ──▶ request ──▶ reports ──▶ result
           ▲                        │ the control plane ended
           └── the same id again ───┘ until the time to wait is over
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import ValidationError

from agency.clock import Clock
from agency.control.entrance.place import host_socket, local_socket
from agency.errors import AgencyError, PrerequisiteError, UsageError
from agency.protocols import (
    MAX_ANSWER,
    MAX_WAIT_S,
    CommandLine,
    CommandOutcome,
    CommandRequest,
    CommandResult,
)
from agency.unix_sockets import short_path

_CONNECT_S = 5.0
_AGAIN_S = 0.2
_SPARE_S = 5.0  # after which a control plane that says nothing is given up
_UP = "start a local agency with `agency up`, or the host's with `systemctl start agency-control`"
_ABSENT = (FileNotFoundError, ConnectionRefusedError)


class CommandLostError(AgencyError):
    """A command whose answer did not come; it may have run."""


def find_socket() -> Path:
    """Find the one control plane of this machine that answers to this user.

    Raises:
        PrerequisiteError: there is none, or this user may not use it.
        UsageError: there are two.
    """
    refused: PrerequisiteError | None = None
    found: list[Path] = []
    for path in (local_socket(), host_socket()):
        try:
            _connect(path).close()
            found.append(path)
        except PrerequisiteError as error:
            if not isinstance(error.__cause__, _ABSENT):
                refused = error
    if len(found) > 1:
        raise UsageError(
            "two control planes run on this machine",
            where=" and ".join(map(str, found)),
            hint="name one of them with --socket",
        )
    if found:
        return found[0]
    if refused is not None:
        raise refused
    raise PrerequisiteError("no control plane runs on this machine", hint=_UP)


async def ask(
    path: Path,
    request: CommandRequest,
    tell: Callable[[str], None],
    *,
    clock: Clock,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> CommandResult:
    """Send a command and wait for its result; `tell` gets the reports before it.

    Raises:
        PrerequisiteError: no control plane runs there, or it is not for this user.
        CommandLostError: there was no result in time.
    """
    until, sent = clock.steady() + request.wait_s, False
    while True:
        left_s = max(until - clock.steady(), 0.001)
        again = request.model_copy(update={"wait_s": min(left_s, MAX_WAIT_S)})
        try:
            connection = _connect(path)
            sent = True
            async with asyncio.timeout(left_s + _SPARE_S):
                result = await _exchange(connection, again, tell)
            if result is not None and result.outcome is not CommandOutcome.BUSY:
                return result
            reason = "the control plane ended" if result is None else result.text
        except PrerequisiteError as error:
            if not sent or not isinstance(error.__cause__, _ABSENT):
                raise
            reason = "the control plane ended and does not run again"
        except TimeoutError:
            reason = "the control plane does not answer"
        except OSError as error:
            reason = f"the connection broke: {error.strerror}"
        if clock.steady() + _AGAIN_S >= until:
            raise _lost(request, reason, path)
        await sleep(_AGAIN_S)


def _connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(_CONNECT_S)
    try:
        with short_path(path) as name:
            made.connect(name)
    except OSError as error:
        made.close()
        raise _not_connected(path, error) from error
    made.setblocking(False)
    return made


def _not_connected(path: Path, error: OSError) -> PrerequisiteError:
    where = str(path)
    if isinstance(error, _ABSENT):
        return PrerequisiteError("no control plane runs here", where=where, hint=_UP)
    if isinstance(error, PermissionError):
        return PrerequisiteError(
            "this user may not command the control plane",
            where=where,
            hint="run it as root, or as the user who ran `agency up`",
        )
    reason = error.strerror or "no answer in time"
    return PrerequisiteError(f"cannot connect: {reason}", where=where, hint=_UP)


async def _exchange(
    connection: socket.socket, request: CommandRequest, tell: Callable[[str], None]
) -> CommandResult | None:
    """Send one request; return its result, or None if the control plane ended before it."""
    reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_ANSWER)
    try:
        # One that is refused at once may be answered, and cut off, before it has sent anything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            writer.write(request.line())
            await writer.drain()
        while True:
            try:
                line = await reader.readuntil(b"\n")
                said = CommandLine.model_validate_json(line).said
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
            except (asyncio.LimitOverrunError, ValidationError) as error:
                raise PrerequisiteError(
                    "the answer is not a control plane's", hint="is it of the same version?"
                ) from error
            if isinstance(said, CommandResult):
                return said
            tell(said.text)
    finally:
        writer.close()


def _lost(request: CommandRequest, reason: str, path: Path) -> CommandLostError:
    return CommandLostError(
        f"there is no answer within {request.wait_s:g} s: {reason}",
        where=str(path),
        hint=f"it may have run; the same command with --id {request.id} asks for its answer",
    )
