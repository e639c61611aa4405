"""The control plane's answer to `GET /ready`, as the programs that ask it read it.

Without the homeserver's token it is `{"ready": ...}` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

READY_PATH = "/ready"
_MOST = 64
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class ReadyReport:
    """State of a control plane: whether commands get through, and what is wrong.

    `warnings` do not keep commands from getting through; each is a text, with what mends it.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def as_report(body: object) -> ReadyReport:
    """Read the answer; one of another form is a control plane that is not ready."""
    if not isinstance(body, dict):
        return ReadyReport(ready=False, reasons=("its answer is not of the known form",))
    reasons = [_printable(str(each)) for each in _list(body, "reasons")]
    warnings = [_text(each) for each in _list(body, "warnings") if isinstance(each, dict)]
    return ReadyReport(body.get("ready") is True, tuple(reasons), tuple(warnings))


def _list(body: dict[str, Any], key: str) -> list[Any]:
    found = body.get(key)
    return found[:_MOST] if isinstance(found, list) else []


def _text(warning: dict[str, Any]) -> str:
    hint = warning.get("hint")
    return _printable(str(warning.get("text", "")) + (f" ({hint})" if hint else ""))


def _printable(text: str) -> str:
    """Cut a text, and leave out what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST])
