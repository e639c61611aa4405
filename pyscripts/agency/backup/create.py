"""Creation of one snapshot.

lock ─▶ repository is there ─▶ copies ─▶ manifest ─▶ restic backup ─▶ last success ─▶ forget
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from agency import __version__
from agency.backup.copying import fresh_directory, make_copies, write_manifest
from agency.backup.manifest import Manifest
from agency.backup.opening import open_repository
from agency.backup.plan import plan
from agency.backup.restic import TAG, Repository, RepositoryError, Summary
from agency.backup.settings import BackupSettings
from agency.backup.state import LastSuccess, last_success, make_state_dir, note_success
from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.locks import only_one


@dataclass(frozen=True, slots=True)
class Created:
    """A snapshot that was made. `initialised`: the repository was made for it."""

    summary: Summary
    manifest: Manifest
    initialised: bool
    removed: int


def create_backup(settings: BackupSettings, clock: Clock, *, initialise: bool = False) -> Created:
    """Make a snapshot, then remove those that retention does not keep, where that is let.

    An absent repository is made if this machine never had a backup there, or with `initialise`.

    Raises:
        PrerequisiteError: a source, the repository or its password is missing, or another backup
            runs. BadInputError: a source is damaged, or could not be read whole.
    """
    make_state_dir(settings.state_dir)
    busy = PrerequisiteError(
        "another backup or restore runs on this machine",
        where=str(settings.state_dir),
        hint="wait for its end: systemctl status agency-backup",
    )
    with only_one(settings.state_dir / "lock", busy, hint="run this as root"):
        repository = open_repository(settings)
        made = _ensure(settings, repository, initialise=initialise)
        planned = plan(settings)
        fresh_directory(planned.staging)
        try:
            copies = make_copies(settings, planned)
            manifest = copies.manifest(settings, version=__version__, now=clock.wall())
            write_manifest(planned.staging, manifest)
            present = tuple(path for path in planned.paths if path.exists())
            summary = repository.backup(present, host=settings.host, tags=tags(settings))
        finally:
            shutil.rmtree(planned.staging, ignore_errors=True)
        _refuse_unread(summary)
        done = LastSuccess(
            repository=settings.repository,
            snapshot=summary.snapshot,
            at=clock.wall(),
            size=summary.size,
        )
        note_success(settings, done)
        removed = _remove_old(settings, repository, summary)
    return Created(summary, manifest, made, removed)


def _remove_old(settings: BackupSettings, repository: Repository, made: Summary) -> int:
    if settings.append_only:
        return 0
    of = (TAG, f"instance:{settings.instance}")
    try:
        return repository.forget(settings.retention, host=settings.host, tags=of)
    except RepositoryError as error:
        raise RepositoryError(
            f"the snapshot {made.snapshot[:8]} was made, but old ones stay: {error.message}",
            where=settings.repository,
            hint="the next backup tries again; `restic list locks` shows who holds the repository; "
            "for a place that lets nothing be removed, set `backup: {appendOnly: true}`",
        ) from error


def tags(settings: BackupSettings) -> tuple[str, ...]:
    """Name the tags of this instance's snapshots."""
    return (TAG, f"instance:{settings.instance}", f"agency-version:{__version__}")


def _ensure(settings: BackupSettings, repository: Repository, *, initialise: bool) -> bool:
    """Return whether the repository had to be made.

    Raises:
        RepositoryError: it is gone, and was there when the last backup succeeded.
    """
    if repository.exists():
        return False
    last = last_success(settings)
    if last is not None and last.repository == settings.repository and not initialise:
        raise RepositoryError(
            f"the repository is gone; the snapshot {last.snapshot[:8]} was in it",
            where=settings.repository,
            hint="is its disk mounted? `agency backup create --init` makes an empty one",
        )
    repository.initialise()
    return True


def _refuse_unread(summary: Summary) -> None:
    """Refuse a snapshot that lacks files; those that are gone by now were removed meanwhile."""
    lost = [item for item in summary.unread if not item or Path(item).exists()]
    if lost:
        raise BadInputError(
            f"the snapshot {summary.snapshot[:8]} lacks files that could not be read",
            where=lost[0] or "restic",
            hint="run this as root; the next complete backup counts as the last success",
        )
