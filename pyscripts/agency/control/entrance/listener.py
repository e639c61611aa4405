"""Listener on the command socket: who connects, one request, its reports and its result.

Bounds: connections, bytes and seconds of a request, seconds of the answer, bytes that wait for a
reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import pwd
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from agency.control.entrance.connections import OpenConnections
from agency.control.entrance.enter import Answer, Asked
from agency.control.entrance.place import Place, listen
from agency.control.execution.replies import printable
from agency.control.operation import operation_id
from agency.control.operations import Origin, OriginKind, Tell
from agency.control.policy import LOCAL
from agency.protocols import (
    COMMAND_VERSION,
    MAX_REQUEST,
    CommandLine,
    CommandOutcome,
    CommandProgress,
    CommandRequest,
    CommandResult,
)
from agency.secrets import SecretValue
from agency.settings import explain
from agency.unix_sockets import peer_of

_log = logging.getLogger(__name__)

_MOST = 16  # connections at one time
_REQUEST_S = 5.0
_WRITE_S = 5.0
_MAX_UNREAD = 256 * 1024  # bytes of reports that a client has not read
_MAX_TEXT, _MAX_BLOCK = 8_000, 24_000  # characters

Enter = Callable[[Asked, Tell], Awaitable[Answer]]


def peer_uid(connection: socket.socket) -> int:
    """Read the user whose process made the connection, unix(7), SO_PEERCRED."""
    return peer_of(connection).uid


def actor_of(uid: int) -> str:
    """Name a user of this machine as the audit log does."""
    try:
        return LOCAL + pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{LOCAL}uid-{uid}"


@dataclass(slots=True)
class Listener:
    """Server of the command socket. `admitted` are the users who may command."""

    enter: Enter
    admitted: frozenset[int]
    most: int = _MOST
    request_s: float = _REQUEST_S
    _open: OpenConnections = field(default_factory=OpenConnections)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task of its own."""
        self._open.serve(self._serve(reader, writer), "command")

    async def close(self) -> None:
        """Close every connection; operations go on."""
        await self._open.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            result = await self._result(reader, writer)
            if result is not None:
                _write(writer, result)
                async with asyncio.timeout(_WRITE_S):
                    await writer.drain()
        except (OSError, TimeoutError):
            _log.info("a client of the command socket left before its answer")
        except Exception:  # noqa: BLE001 - a defect met by one request must not stop the others
            _log.exception("a request on the command socket could not be answered")
        finally:
            writer.close()

    async def _result(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> CommandResult | None:
        """Read a request and answer it; None if the client left."""
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in self.admitted:
            _log.warning("refused a user on the command socket", extra={"fields": {"uid": uid}})
            return _no(CommandOutcome.DENIED, f"the user {uid} may not command this agency")
        if len(self._open) > self.most:
            return _no(CommandOutcome.BUSY, "too many commands are waited for at once")
        try:
            async with asyncio.timeout(self.request_s):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            return _no(CommandOutcome.NOT_UNDERSTOOD, f"a request has at most {MAX_REQUEST} bytes")
        except TimeoutError:
            return _no(CommandOutcome.NOT_UNDERSTOOD, f"no request within {self.request_s:g} s")
        request = _read(line)
        if isinstance(request, CommandResult):
            return request
        return await self._answer(request, uid, reader, writer)

    async def _answer(
        self,
        request: CommandRequest,
        uid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> CommandResult | None:
        """Wait for the answer, for as long as the client waits, at most as it asked for."""
        value = None if request.value is None else SecretValue(request.value.get_secret_value())
        asked = Asked(
            OriginKind.CLI,
            request.id,
            actor_of(uid),
            request.command,
            request.sent_ts,
            value,
            request.document,
        )

        def tell(text: str) -> None:
            if writer.transport.get_write_buffer_size() < _MAX_UNREAD:
                _write(writer, CommandProgress(text=_clean(text, _MAX_TEXT)))

        work = asyncio.ensure_future(self.enter(asked, tell))
        left = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait(
                (work, left), timeout=request.wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            if work.done():
                return _as_result(work.result())
            if left.done():
                return None
            text = f"there is no answer within {request.wait_s:g} s; it goes on"
            operation = operation_id(Origin(asked.kind, asked.id, asked.sent_ts))
            return CommandResult(outcome=CommandOutcome.UNFINISHED, text=text, operation=operation)
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)


def _read(line: bytes) -> CommandRequest | CommandResult:
    """Read a request, or make the result that refuses it."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return _no(CommandOutcome.NOT_UNDERSTOOD, "the request is not JSON")
    if isinstance(told, dict) and told.get("version") != COMMAND_VERSION:
        text = f"this control plane speaks version {COMMAND_VERSION} of the command socket"
        return _no(CommandOutcome.UNSUPPORTED, text)
    try:
        return CommandRequest.model_validate(told)
    except ValidationError as error:
        return _no(CommandOutcome.NOT_UNDERSTOOD, f"not a request: {explain(error)}")


def _no(outcome: CommandOutcome, text: str) -> CommandResult:
    return CommandResult(outcome=outcome, text=text)


def _as_result(answer: Answer) -> CommandResult:
    return CommandResult(
        outcome=answer.outcome,
        text=_clean(answer.reply.text, _MAX_TEXT),
        block=_clean(answer.reply.block, _MAX_BLOCK),
        said=answer.said,
        operation=answer.operation,
        trace=answer.trace,
    )


def _clean(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[:most]}\n[cut]"


def _write(writer: asyncio.StreamWriter, line: CommandProgress | CommandResult) -> None:
    writer.write(CommandLine(said=line).model_dump_json().encode() + b"\n")


@contextlib.asynccontextmanager
async def serve(place: Place, enter: Enter) -> AsyncIterator[Path]:
    """Serve the command socket of a place; the socket's file is removed at the end.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    listener = Listener(enter, place.admitted)
    server = await asyncio.start_unix_server(
        listener.accept, sock=listen(place.path), limit=MAX_REQUEST
    )
    try:
        yield place.path
    finally:
        server.close()
        await listener.close()
        with contextlib.suppress(OSError):
            place.path.unlink(missing_ok=True)
