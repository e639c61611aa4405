"""Client of the agents' audit log: the path of its socket, and the sending of events.

The protocol is JSON lines. A request is `{"event": NAME, "detail": {...}}`; the answer is
`{"sequence": N, "hash": HEX}` once the record is on disk, or `{"error": ..., "hint": ...}`. The
service takes the sender from the kernel; it is never part of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agency.canonical import canonical_json
from agency.errors import AgencyError, BadInputError, PrerequisiteError

SOCKET = Path("/run/agency-audit.sock")
MAX_LINE = 4096  # bytes of a request, its newline included
_MAX_ANSWER = 4096
_TIMEOUT_S = 10.0


class AuditAbsentError(PrerequisiteError):
    """A missing socket: no service on this machine keeps an audit log of agents."""


class AuditUnreachableError(PrerequisiteError):
    """A socket without answer; the event may be on record or not."""


class AuditRefusedError(BadInputError):
    """A refusal by the service, or by the socket's mode: the event is not on record."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that an event is on record: its number and its hash in the chain."""

    sequence: int
    hash: str


class AuditClient:
    """Sender of events, one at a time over one connection, which is made at first use.

    After any failure it closes the connection; the next event makes a new one.
    """

    def __init__(self, socket: Path = SOCKET, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def record(self, event: str, detail: dict[str, Any]) -> Receipt:
        """Put one event on record; `detail` must hold nothing secret.

        Raises:
            AuditAbsentError: there is no socket.
            AuditUnreachableError: no answer in time, or the connection broke.
            AuditRefusedError: it was refused.
        """
        try:
            line = canonical_json({"event": event, "detail": detail}) + b"\n"
        except (TypeError, ValueError) as error:
            raise AuditRefusedError("the detail cannot be written as JSON") from error
        if len(line) > MAX_LINE:
            raise AuditRefusedError(f"the event is longer than {MAX_LINE} bytes")
        try:
            async with asyncio.timeout(self._timeout_s):
                return self._receipt(await self._exchange(line))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise self._failure(error) from error
        except asyncio.LimitOverrunError as error:
            await self.close()
            raise AuditUnreachableError("the answer is too long", where=self._where) from error
        except BaseException:  # refused or cancelled: a late answer must not meet the next event
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, if there is one."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):
                await streams[1].wait_closed()

    @property
    def _where(self) -> str:
        return str(self._socket)

    async def _exchange(self, line: bytes) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._socket, limit=_MAX_ANSWER)
        reader, writer = self._streams
        # Who is refused at once may be answered, and cut off, before it has sent anything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            writer.write(line)
            await writer.drain()
        return await reader.readuntil(b"\n")

    def _receipt(self, answer: bytes) -> Receipt:
        try:
            said = json.loads(answer)
        except (ValueError, RecursionError):
            said = None
        match said:
            case {"sequence": int(sequence), "hash": str(digest)}:
                return Receipt(sequence, digest)
            case {"error": str(error)}:
                hint = said.get("hint")
                raise AuditRefusedError(
                    error, where=self._where, hint=hint if isinstance(hint, str) else None
                )
        raise AuditUnreachableError("the answer is not the audit log's", where=self._where)

    def _failure(self, error: Exception) -> AgencyError:
        if isinstance(error, FileNotFoundError):
            return AuditAbsentError(
                "the audit log's socket is not there",
                where=self._where,
                hint="it is kept by agency-audit.socket, which needs systemd",
            )
        if isinstance(error, PermissionError):
            return AuditRefusedError(
                "this user may not use the audit log's socket",
                where=self._where,
                hint="it is for agents; people read the log with `agency workspace audit verify`",
            )
        reason = "no answer in time" if isinstance(error, TimeoutError) else "the connection broke"
        return AuditUnreachableError(
            reason, where=self._where, hint="see the journal of agency-audit.service"
        )
