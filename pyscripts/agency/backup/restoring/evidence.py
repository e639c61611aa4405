"""Evidence of a restore in place, read back from the machine: for probes."""

from __future__ import annotations

from pathlib import Path

from agency.backup.plan import Kind
from agency.backup.restoring.in_place import RECORD, Restored
from agency.backup.settings import BackupSettings
from agency.chain import Head
from agency.control import verify_database
from agency.settings import load


def restored_evidence(settings: BackupSettings) -> dict[str, object]:
    """Tell of the last restore in place, and look whether the audit log goes on from its head.

    `continues` is the number of rows that the log has now, which follow the restored ones in one
    chain; None for a log in PostgreSQL, or one that is broken.

    Raises:
        PrerequisiteError: there was no restore, or the store cannot be read.
    """
    done = load(
        settings.state_dir / RECORD,
        Restored,
        what="the record of a restore",
        hint="`agency backup restore latest --in-place --yes-replace HOST` makes it",
    )
    head = done.audit_before
    return {
        "snapshot": done.snapshot,
        "instance": done.instance,
        "createdAt": done.created_at,
        "restoredAt": done.at,
        "parts": [f"{part.kind}:{part.name}" for part in done.parts],
        "before": {f"{part.kind}:{part.name}": part.before for part in done.parts},
        "after": {f"{part.kind}:{part.name}": part.after for part in done.parts},
        "auditBefore": None if head is None else head.model_dump(),
        "auditAfter": None if done.audit_after is None else done.audit_after.model_dump(),
        "continues": _rows_now(settings, done),
    }


def _rows_now(settings: BackupSettings, done: Restored) -> int | None:
    audited = next((store for store in settings.stores if store.audited), None)
    restored = {(part.kind, part.name) for part in done.parts}
    if audited is None or done.audit_before is None or (Kind.STORE, audited.name) not in restored:
        return None
    expected = Head(done.audit_before.count, done.audit_before.head)
    report = verify_database(Path(audited.path), instance=done.instance, expected=expected)
    return report.count if report.ok else None
