"""Failure of an agent in one line, safe to show in a chat room."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable

from agency.secrets import Redactor, SecretValue

_MAX_CHARACTERS = 300


def failure_detail(
    exit_status: int, log: Iterable[str], *, secrets: Iterable[SecretValue] = ()
) -> str:
    """Describe how a process ended and its last message, without secrets and control characters.

    `log` is the end of its log, oldest line first; `exit_status` is negative for a signal. Secrets
    are removed before the text is cut, because part of a secret would not be recognised.
    """
    lines = [*log]
    killed = exit_status < 0 and bool(lines) and _is_routine(lines[-1])  # it said nothing of it
    said = (
        "" if killed else next((text for each in reversed(lines) if (text := _message(each))), "")
    )
    said = Redactor(secrets).redact(said)
    said = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    if len(said) > _MAX_CHARACTERS:
        said = said[:_MAX_CHARACTERS] + "..."
    return f"{_ending(exit_status)}: {said}" if said else _ending(exit_status)


def _ending(exit_status: int) -> str:
    if exit_status >= 0:
        return f"exit status {exit_status}"
    try:
        return f"ended by {signal.Signals(-exit_status).name}"
    except ValueError:  # a real-time signal
        return f"ended by signal {-exit_status}"


def _is_routine(line: str) -> bool:
    """Return whether a log line reports nothing out of the ordinary."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and parsed.get("level") in ("debug", "info")


def _message(line: str) -> str:
    """Return the message of a log line: that of a JSON line, or the line itself."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return line.strip()
    if not isinstance(parsed, dict):
        return line.strip()
    error = parsed.get("error")
    if isinstance(error, dict) and "message" in error:
        where = error.get("where")
        return f"{where}: {error['message']}" if where else str(error["message"])
    return str(parsed.get("message", line)).strip()
