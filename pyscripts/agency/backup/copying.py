"""Copies of stores and databases in the staging directory, and the manifest of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agency.backup.auditing import RowsOfLog, head_of_store
from agency.backup.manifest import AuditHead, Included, Manifest, sha256_of
from agency.backup.plan import GLOBALS, MANIFEST, Kind, Part, Plan
from agency.backup.settings import BackupSettings
from agency.backup.sources.postgresql import Databases, rows_of_dump
from agency.backup.sources.sqlite import copy_store, revision_of, rows_of
from agency.backup.sources.trees import group_names, survey, user_names
from agency.errors import PrerequisiteError
from agency.files import write_atomically


@dataclass(slots=True)
class Copies:
    """Copies, as far as they are made."""

    parts: list[Included] = field(default_factory=list)
    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)
    audit: AuditHead | None = None
    revision: str | None = None

    def manifest(self, settings: BackupSettings, *, version: str, now: float) -> Manifest:
        """Make the manifest of the copies."""
        return Manifest(
            instance=settings.instance,
            host=settings.host,
            agency=version,
            created_at=now,
            revision=self.revision,
            audit=self.audit,
            parts=tuple(self.parts),
            users=user_names(self.uids),
            groups=group_names(self.gids),
        )


def fresh_directory(path: Path) -> None:
    """Make an empty directory, in place of what an interrupted run left.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    try:
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot make the directory: {error.strerror or error}",
            where=str(path),
            hint="run this as root, and look at the free space there",
        ) from error


def make_copies(settings: BackupSettings, planned: Plan) -> Copies:
    """Copy each part that needs a copy, and survey the trees.

    Raises:
        PrerequisiteError: a source cannot be read, or there is no room. BadInputError: a store or
            its audit log is damaged; then no backup replaces a good one.
    """
    copies = Copies()
    how: dict[Kind, Callable[[BackupSettings, Part, Path, Copies], Included]] = {
        Kind.STORE: _store,
        Kind.DATABASE: _database,
        Kind.TREE: _tree,
    }
    for part in planned.parts:
        copies.parts.append(how[part.kind](settings, part, planned.staging, copies))
    if settings.server is not None and settings.server.databases:
        Databases(settings.server, settings.timeout_s).dump_globals(planned.staging / GLOBALS)
    return copies


def write_manifest(staging: Path, manifest: Manifest) -> None:
    """Write the manifest beside the copies."""
    write_atomically(
        staging / MANIFEST, f"{manifest.model_dump_json(indent=1)}\n".encode(), mode=0o600
    )


def _store(_settings: BackupSettings, part: Part, staging: Path, copies: Copies) -> Included:
    source, target = Path(part.source), staging / (part.staged or part.name)
    copy_store(source, target)
    facts = source.stat()
    copies.uids.add(facts.st_uid)
    copies.gids.add(facts.st_gid)
    if part.audited:
        copies.audit = head_of_store(target)
        copies.revision = revision_of(target)
    return Included(
        kind=part.kind,
        name=part.name,
        source=part.source,
        staged=part.staged,
        size=target.stat().st_size,
        sha256=sha256_of(target),
        rows=rows_of(target),
        uid=facts.st_uid,
        gid=facts.st_gid,
        mode=facts.st_mode & 0o7777,
        audited=part.audited,
    )


def _database(settings: BackupSettings, part: Part, staging: Path, copies: Copies) -> Included:
    assert settings.server is not None  # the plan has it from there
    databases = Databases(settings.server, settings.timeout_s)
    facts = databases.facts(part.name)
    if facts is None:
        raise PrerequisiteError(
            "the database does not exist",
            where=part.name,
            hint="start its service once, or take it out of agency.backup.databases",
        )
    target = staging / (part.staged or part.name)
    databases.dump(part.name, target)
    log = RowsOfLog() if part.audited else None
    rows = rows_of_dump(target, settings.timeout_s, log.take if log is not None else None)
    if log is not None:
        copies.audit, copies.revision = log.head(where=part.name), log.revision
    return Included(
        kind=part.kind,
        name=part.name,
        source=part.source,
        staged=part.staged,
        size=target.stat().st_size,
        sha256=sha256_of(target),
        rows=rows,
        uid=os.geteuid(),
        gid=os.getegid(),
        database=facts,
        audited=part.audited,
    )


def _tree(_settings: BackupSettings, part: Part, _staging: Path, copies: Copies) -> Included:
    source = Path(part.source)
    if source.is_symlink():  # restic would keep the link alone
        raise PrerequisiteError(
            "the tree is a link", where=part.source, hint=f"name {source.resolve()} instead"
        )
    found = survey(source)
    copies.uids |= found.uids
    copies.gids |= found.gids
    return Included(
        kind=part.kind,
        name=part.name,
        source=part.source,
        present=found.present,
        files=found.files,
        size=found.size,
        uid=found.uid,
        gid=found.gid,
        mode=found.mode,
    )
