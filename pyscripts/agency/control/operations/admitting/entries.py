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
    """Make the audit entry of a message that became no operation."""
    facts = audit.audit_detail(**{**origin.facts, **detail})
    return AuditEntry(trace, actor, UNKNOWN_ACTION, "", outcome, facts)


def operation_entry(
    operation: Operation, outcome: Outcome, detail: Mapping[str, object], *, by: str | None = None
) -> AuditEntry:
    """Make the audit entry of an operation; `by` is the actor, if that is not who asked for it."""
    facts = audit.audit_detail(**{**operation.origin.facts, "said": operation.said, **detail})
    return AuditEntry(
        trace=operation.trace,
        actor=by or operation.actor,
        action=operation.action,
        target=operation.target[:255],
        outcome=outcome,
        detail=facts,
    )


def bound(operation: Operation) -> dict[str, object]:
    """Name an operation exactly, before it acts or is asked about: by id and digest."""
    return {"operation": operation.id, "digest": operation.digest}


def sealed(text: str) -> dict[str, object]:
    """Describe a text that is no command by its digest: it may hold a secret."""
    data = text.encode(errors="surrogatepass")
    return {"bytes": len(data), "sha256": sha256_hex(data)}


def sentence(error: AgencyError, *, keep: str = "") -> str:
    """Format an error as a sentence, with its hint on the next line.

    `keep` is the name of an agent: it keeps its case where the sentence begins with it.
    """
    text = error.message
    if not keep or text.split(" ", 1)[0].rstrip(":,") != keep:
        text = text[:1].upper() + text[1:]
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    return f"{text}\n{error.hint}" if error.hint else text


def store_reason(error: SQLAlchemyError) -> str:
    """Return the database driver's message, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)
