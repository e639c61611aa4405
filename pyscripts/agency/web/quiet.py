"""Log records whose number a stranger decides: one a minute of each kind, with the count."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_EVERY_S = 60.0
_MOST_KINDS = 64


@dataclass(slots=True)
class QuietLog:
    """Log that says each kind of thing at most once in `every_s`, and how often it was left out."""

    log: logging.Logger
    every_s: float = _EVERY_S
    steady: Callable[[], float] = time.monotonic
    _said: dict[str, tuple[float, int]] = field(default_factory=dict)

    def warning(
        self, kind: str, text: str, *args: object, fields: Mapping[str, object] | None = None
    ) -> None:
        """Log a warning, unless one of its kind was logged a short time ago."""
        left_out = self.due(kind)
        if left_out is None:
            return
        shown = {**(fields or {}), **({"left_out": left_out} if left_out else {})}
        self.log.warning(text, *args, extra={"fields": shown})

    def due(self, kind: str) -> int | None:
        """Return how many of a kind were left out since the last; None if this one is, too."""
        kind = kind if kind in self._said or len(self._said) < _MOST_KINDS else ""
        at, left_out = self._said.get(kind, (None, 0))
        now = self.steady()
        if at is not None and now - at < self.every_s:
            self._said[kind] = (at, left_out + 1)
            return None
        self._said[kind] = (now, 0)
        return left_out


class QuietFilter(logging.Filter):
    """Filter of a library's logger: one record a minute of each message, without its traceback."""

    def __init__(self, quiet: QuietLog) -> None:
        super().__init__()
        self._quiet = quiet

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record through if one of its message is due."""
        left_out = self._quiet.due(str(record.msg)[:200])
        if left_out is None:
            return False
        record.exc_info = record.exc_text = None
        record.fields = {"left_out": left_out}
        return True
