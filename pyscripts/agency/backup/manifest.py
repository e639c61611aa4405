"""Manifest of a snapshot: what was included, so that later runs can compare."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from agency.backup.plan import Kind
from agency.settings import Strict

MAX_BYTES = 4 * 1024 * 1024
_BLOCK = 1024 * 1024

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Of a file in the staging directory; it is joined to paths.
FileName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,50}\.[a-z]{3,6}$")]


class AuditHead(Strict):
    """End of the control plane's audit log: number and hash of its last row."""

    count: int = Field(ge=0)
    head: Sha256


class DatabaseFacts(Strict):
    """Facts that a database is made anew with."""

    owner: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,62}$")]
    encoding: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,20}$")]
    collate: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,60}$")]
    ctype: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,60}$")]


class Included(Strict):
    """One part of the snapshot.

    `rows` counts the rows of each table. `files` and `size` of a tree are those found before restic
    read it, and it may have changed meanwhile; `present` is false for one that did not exist.
    """

    kind: Kind
    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,44}$")]
    source: str
    staged: FileName | None = None
    present: bool = True
    files: int = Field(default=1, ge=0)
    size: int = Field(ge=0)
    sha256: Sha256 | None = None
    rows: dict[str, int] = Field(default_factory=dict)
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    database: DatabaseFacts | None = None
    audited: bool = False


class Manifest(Strict):
    """Content of a snapshot; `users` and `groups` name the owners of files by their numbers."""

    version: Literal[1] = 1
    instance: str
    host: str
    agency: str
    created_at: float
    revision: str | None = None
    audit: AuditHead | None = None
    parts: tuple[Included, ...]
    users: dict[int, str] = Field(default_factory=dict)
    groups: dict[int, str] = Field(default_factory=dict)

    def staged(self) -> tuple[Included, ...]:
        """List the parts that have a copy of their own."""
        return tuple(part for part in self.parts if part.staged is not None)


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
