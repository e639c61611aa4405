"""The log of a service: one JSON object a line on standard error.

logging call + extra fields ─┐
log_context: trace, actor … ─┴─▶ JsonLines ─▶ redacted, bounded ─▶ one line
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

from agency.clock import iso

LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
_MAX_TEXT = 4096
_OWN = "agency"  # the logger of our own modules

_context: ContextVar[Mapping[str, object] | None] = ContextVar("log_context", default=None)


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields to every record of this task, and of those that it starts, until the end."""
    before = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(before)


def _unchanged(text: str) -> str:
    """Redact nothing: for a program that holds no secret."""
    return text


class JsonLines(logging.Formatter):
    """Formatter of a record as one line of JSON: time, level, message and extra fields.

    A caller passes extra fields by `extra={"fields": {...}}`. Every text is redacted, then cut.
    """

    def __init__(self, redact: Callable[[str], str] = _unchanged) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        line: dict[str, object] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "message": self._text(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        given = {**(_context.get() or {}), **(fields if isinstance(fields, dict) else {})}
        line |= {self._text(str(key)): self._value(value) for key, value in given.items()}
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))[-_MAX_TEXT:]
        return json.dumps(line)

    def _text(self, text: str) -> str:
        return self._redact(text)[:_MAX_TEXT]

    def _value(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self._text(str(key)): self._value(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value(each) for each in value]
        if isinstance(value, bytes):
            return self._text(value.decode(errors="replace"))
        return self._text(str(value))


def log_to_stderr(level: LogLevel = "info", redact: Callable[[str], str] = _unchanged) -> None:
    """Send records to standard error as JSON lines: ours from `level` on, others' from info on.

    The libraries' own debug lines are never sent: they name statements with their values. Alembic
    tells each start of a program what is loaded and that nothing is to be done; that is left out.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(redact))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    set_log_level(level)


def set_log_level(level: str) -> None:
    """Change the level while the program runs: of our own lines, and of others' from info on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(max(number, logging.INFO))
    logging.getLogger(_OWN).setLevel(number)
