"""The control plane's audit log within a copy: verified from its first row, and its head."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agency.backup.manifest import AuditHead
from agency.backup.sources.postgresql import Table, rows_of_dump
from agency.chain import Head
from agency.control import AuditRow, ChainReport, verify_chain, verify_database
from agency.errors import BadInputError

_LOG, _META, _REVISION = "public.audit", "public.meta", "public.alembic_version"


def head_of_store(store: Path) -> AuditHead:
    """Verify the log of a copy, and return its head.

    Raises:
        BadInputError: the log is not whole.
    """
    return _head(verify_database(store), str(store))


def log_of_store(store: Path, expected: AuditHead, instance: str) -> ChainReport:
    """Verify the log of a copy against the head that its manifest names."""
    return verify_database(store, instance=instance, expected=Head(expected.count, expected.head))


def log_of_dump(dump: Path, expected: AuditHead, instance: str, timeout: float) -> ChainReport:
    """Verify the log within a dump against the head that its manifest names."""
    log = RowsOfLog()
    rows_of_dump(dump, timeout, log.take)
    return log.verify(instance, Head(expected.count, expected.head))


@dataclass(slots=True)
class RowsOfLog:
    """The log's rows, read from a dump as they come; a dump keeps no order."""

    rows: list[AuditRow] = field(default_factory=list)
    revision: str | None = None
    instance: str | None = None

    def take(self, table: Table, row: bytes) -> None:
        """Read one row of any table."""
        if table.name == _LOG:
            values = table.values(row)
            text = {name: value for name, value in values.items() if name != "sequence"}
            self.rows.append(AuditRow(sequence=int(values["sequence"]), **text))
        elif table.name == _REVISION:
            self.revision = table.values(row)["version_num"]
        elif table.name == _META and table.values(row).get("key") == "instance":
            self.instance = table.values(row)["value"]

    def verify(self, instance: str, expected: Head | None = None) -> ChainReport:
        """Verify the log from its first row."""
        rows = sorted(self.rows, key=lambda one: one.sequence)
        return verify_chain(rows, instance=instance, expected=expected)

    def head(self, *, where: str) -> AuditHead:
        """Verify the log, and return its head.

        Raises:
            BadInputError: there is no log, or it is not whole.
        """
        if self.instance is None:
            raise BadInputError("this database holds no audit log", where=where)
        return _head(self.verify(self.instance), where)


def _head(report: ChainReport, where: str) -> AuditHead:
    if not report.ok:
        raise BadInputError(
            f"the audit log is bad at row {report.first_bad}: {report.reason}",
            where=where,
            hint="run `agency audit verify`; the last good backup is still in the repository",
        )
    return AuditHead(count=report.count, head=report.head)
