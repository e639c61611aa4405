"""A small machine to back up: a control plane's real store, a tree, and a restic repository."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agency.backup.settings import BackupSettings
from agency.chain import Head
from agency.clock import Clock
from agency.control.store import audit, schema
from agency.control.store.audit import AuditEntry, Outcome
from agency.store import migrate, open_database

INSTANCE = "example"
HOST = "machine.example"
PASSWORD = "a password of tests"

needs_restic = pytest.mark.skipif(
    shutil.which("restic") is None, reason="restic is not installed: apt-get install restic"
)


@dataclass
class Machine:
    """What the tests back up, below one directory."""

    place: Path
    clock: Clock = field(default_factory=Clock)
    instance: str = INSTANCE
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.place / "control" / "control.db"

    @property
    def tree(self) -> Path:
        return self.place / "media"

    @property
    def repository(self) -> Path:
        return self.place / "disk" / "repository"

    @property
    def credentials(self) -> Path:
        return self.place / "credentials"

    @property
    def config(self) -> Path:
        return self.place / "backup.json"

    def make(self, rows: int = 3) -> Machine:
        self.store.parent.mkdir(parents=True)
        self.repository.parent.mkdir()
        self.tree.mkdir()
        (self.tree / "picture").write_bytes(bytes(range(256)) * 4000)
        (self.tree / "below").mkdir()
        (self.tree / "below" / "note").write_text("kept")
        self.say(rows)
        self.credentials.mkdir()
        (self.credentials / "backup-password").write_text(PASSWORD)
        self.write_config()
        return self

    @property
    def settings(self) -> BackupSettings:
        return BackupSettings.model_validate_json(self.config.read_bytes())

    def write_config(self, **more: Any) -> None:
        self.more |= more
        document = {
            "instance": self.instance,
            "host": HOST,
            "repository": str(self.repository),
            "state_dir": str(self.place / "state"),
            "metrics_file": str(self.place / "agency_backup.prom"),
            "stores": [{"name": "control", "path": str(self.store), "audited": True}],
            "trees": [{"name": "media", "path": str(self.tree)}],
            "timeout_hours": 1,
            **self.more,
        }
        self.config.write_text(json.dumps(document))

    def say(self, count: int = 1) -> Head:
        """Append rows to the audit log, as the control plane does; return its head."""
        return in_store(str(self.store), lambda c: appended(c, self.instance, self.clock, count))

    def forge_a_row(self) -> None:
        """Change a row of the audit log behind its guards."""
        with closing(sqlite3.connect(self.store)) as connection:
            listed = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in connection.execute(listed).fetchall():
                connection.execute(f'DROP TRIGGER "{name}"')
            connection.execute("UPDATE audit SET actor = 'mallory' WHERE sequence = 2")
            connection.commit()

    def damage(self) -> None:
        """Lose everything that was backed up."""
        shutil.rmtree(self.store.parent)
        shutil.rmtree(self.tree)

    def contents(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.tree)): path.read_bytes()
            for path in self.tree.rglob("*")
            if path.is_file()
        }


def appended(connection: Any, instance: str, clock: Clock, count: int) -> Head:
    head = audit.open_log(connection, instance, clock)
    for number in range(count):
        trace = f"trace-{head.sequence}-{number}"
        entry = AuditEntry(trace, "@alice:agency.example", "agents list", "-", Outcome.DONE)
        head = audit.append(connection, clock, entry)
    return head


def in_store(url: str, work: Callable[[Any], Any]) -> Any:
    async def run() -> Any:
        database = open_database(url)
        try:
            await migrate(database, schema.SCHEMA)
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())
