"""Audit entries and sentences about operations, and about messages that became none."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from agency.canonical import sha256_hex
from agency.control.operation import Operation, Origin
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome
from agency.errors import AgencyError

UNKNOWN_ACTION = "command"


def message_entry(
    trace: str, actor: str, origin: Origin, outcome: Outcome, detail: Mapping[str, object]
) -> AuditEntry:
    """Record a message that became no operation."""
    facts = audit.audit_detail(**{**origin.facts, **detail})
    return AuditEntry(trace, actor, UNKNOWN_ACTION, "", outcome, facts)


def operation_entry(
    operation: Operation, outcome: Outcome, detail: Mapping[str, object], *, by: str | None = None
) -> AuditEntry:
    """Record what came of an operation; `by` is who did it, where that is not the asker."""
    facts = audit.audit_detail(**{**operation.origin.facts, "said": operation.said, **detail})
    return AuditEntry(
        trace=operation.trace,
        actor=by or operation.actor,
        action=operation.action,
        target=operation.target[:255],
        outcome=outcome,
        detail=facts,
    )


def sealed(text: str) -> dict[str, object]:
    """Seal a text that is no command: it may hold a secret, so only its digest is kept."""
    data = text.encode(errors="surrogatepass")
    return {"bytes": len(data), "sha256": sha256_hex(data)}


def sentence(error: AgencyError) -> str:
    """Write an error as a sentence, and its hint below."""
    text = error.message[:1].upper() + error.message[1:]
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    return f"{text}\n{error.hint}" if error.hint else text


def store_reason(error: SQLAlchemyError) -> str:
    """Take the driver's word, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)
