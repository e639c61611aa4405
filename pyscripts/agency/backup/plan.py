"""Plan of a backup: pure, from the settings alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency.backup.settings import BackupSettings

MANIFEST = "manifest.json"
_STAGING = "staging"
GLOBALS = "globals.sql"


class Kind(StrEnum):
    """Kinds of parts."""

    STORE = "store"  # a SQLite file
    DATABASE = "database"  # of PostgreSQL
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its source, and the file of its copy in the staging directory, if it has one.

    `source` of a database is its name.
    """

    kind: Kind
    name: str
    source: str
    staged: str | None = None
    audited: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Parts in the order in which they are copied, and the paths that restic reads after that.

    A file that a database names is older than the database's copy, so restic finds it.
    """

    parts: tuple[Part, ...]
    staging: Path
    paths: tuple[Path, ...]


def staging_of(settings: BackupSettings) -> Path:
    """Return the directory of the copies."""
    return settings.state_dir / _STAGING


def plan(settings: BackupSettings) -> Plan:
    """Plan a backup: copies first, trees last."""
    server = settings.server
    databases = () if server is None else server.databases
    audited = None if server is None else server.audited
    parts = (
        *(
            Part(Kind.STORE, one.name, str(one.path), f"{one.name}.sqlite", one.audited)
            for one in settings.stores
        ),
        *(
            Part(Kind.DATABASE, name, name, f"{name}.dump", audited=name == audited)
            for name in databases
        ),
        *(Part(Kind.TREE, one.name, str(one.path)) for one in settings.trees),
    )
    staging = staging_of(settings)
    return Plan(parts, staging, (staging, *(one.path for one in settings.trees)))
