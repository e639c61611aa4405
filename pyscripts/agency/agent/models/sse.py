"""Incremental decoder of server-sent events, over bytes cut anywhere.

Source: HTML Living Standard, "Interpreting an event stream". Lines end with LF, CR or CRLF and with
nothing else: `str.splitlines` would also split at U+2028, which JSON texts may hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from agency.agent.models.faults import MalformedAnswerError, OversizedAnswerError

MAX_EVENT = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event; `kind` is empty where the stream names none."""

    data: str
    kind: str = ""


class SseDecoder:
    """Decoder with bounded memory; an event that is not ended by a blank line is none."""

    def __init__(self, most: int = MAX_EVENT) -> None:
        self._most = most
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._kind = b""
        self._after_cr = self._begun = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take bytes; return the events that they complete.

        Raises:
            OversizedAnswerError: an event is too large. MalformedAnswerError: it is not UTF-8.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        found: list[SseEvent] = []
        if chunk.endswith(b"\r"):
            self._after_cr = True
        *ended, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in ended:
            self._grow(part)
            line = bytes(self._line)
            self._line.clear()
            if (event := self._take(line)) is not None:
                found.append(event)
        self._grow(rest)
        return found

    def _grow(self, part: bytes) -> None:
        self._line += part
        if self._size + len(self._line) > self._most:
            raise OversizedAnswerError(f"an event of the stream is larger than {self._most} bytes")

    def _take(self, line: bytes) -> SseEvent | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._kind = value
        return None

    def _dispatch(self) -> SseEvent | None:
        data, kind = self._data, self._kind
        self._data, self._kind, self._size = [], b"", 0
        if not data:
            return None
        try:
            return SseEvent(b"\n".join(data).decode(), kind.decode())
        except UnicodeDecodeError:
            raise MalformedAnswerError("the stream is not UTF-8 text") from None
