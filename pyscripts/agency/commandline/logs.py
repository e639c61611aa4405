"""The log of a service: one JSON object a line on standard error."""

from __future__ import annotations

import json
import logging
import sys

from agency.clock import iso

_MAX_TEXT = 4096


class JsonLines(logging.Formatter):
    """Formatter of a record as one line of JSON: time, level, message and extra fields.

    A caller passes extra fields by `extra={"fields": {...}}`. Long texts are cut.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        line: dict[str, object] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage()[:_MAX_TEXT],
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= {str(key): _bounded(value) for key, value in fields.items()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-_MAX_TEXT:]
        return json.dumps(line, default=str)


def _bounded(value: object) -> object:
    return value[:_MAX_TEXT] if isinstance(value, str) else value


def log_to_stderr() -> None:
    """Send every record of level INFO and above to standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
