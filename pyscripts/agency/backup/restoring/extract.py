"""Extraction of a snapshot to a directory; nothing else on the machine changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.backup.manifest import Manifest, sha256_of
from agency.backup.opening import open_repository
from agency.backup.plan import Kind
from agency.backup.restic import DamageError, Repository, Snapshot
from agency.backup.restoring.guards import refuse_foreign, refuse_narrow
from agency.backup.settings import BackupSettings
from agency.backup.state import make_state_dir
from agency.backup.verify import LATEST, choose, existing, log_in, manifest_of, staging_in
from agency.errors import PrerequisiteError, UsageError
from agency.files import write_atomically

_MARKER = ".agency-restore"


@dataclass(frozen=True, slots=True)
class Source:
    """The snapshot that is restored."""

    repository: Repository
    snapshot: Snapshot
    manifest: Manifest
    staging: Path  # of the machine that made it


@dataclass(frozen=True, slots=True)
class Extracted:
    """A snapshot below a directory: a path of the machine lies at the same path below `root`."""

    root: Path
    source: Source

    @property
    def copies(self) -> Path:
        """Directory of the stores and dumps."""
        return self.at(self.source.staging)

    def at(self, path: Path) -> Path:
        """Return the place of a path of the machine."""
        return self.root / path.relative_to("/")


def find_source(settings: BackupSettings, which: str, from_instance: str | None) -> Source:
    """Find a snapshot by its id, or the latest of the instance, with its manifest.

    Raises:
        BadInputError: there is none, it is damaged, or of another instance.
        PrerequisiteError: the repository cannot be opened.
    """
    make_state_dir(settings.state_dir)
    repository = open_repository(settings)
    wanted = from_instance or settings.instance
    snapshot = choose(existing(settings, repository), which, wanted)
    staging = staging_in(settings, snapshot)
    manifest = manifest_of(repository, snapshot, staging)
    refuse_foreign(settings, manifest, from_instance)
    return Source(repository, snapshot, manifest, staging)


def extract_snapshot(
    settings: BackupSettings, target: Path, *, which: str = LATEST, from_instance: str | None = None
) -> Extracted:
    """Extract a snapshot below an empty directory, or go on with one that was interrupted.

    Raises:
        UsageError: the directory holds other files. PrerequisiteError: there is no room.
        BadInputError: as `find_source`; or a copy is not what the manifest says.
    """
    source = find_source(settings, which, from_instance)
    return extract(settings, source, target)


def extract(
    settings: BackupSettings, source: Source, target: Path, *, copies: int = 1
) -> Extracted:
    """Extract and compare; `copies` is how often the parts must find room."""
    resumed = _claim(target, source.snapshot)
    if not resumed:
        refuse_narrow(target, source.manifest, copies=copies)
    source.repository.restore(source.snapshot.id, target)
    extracted = Extracted(target, source)
    compare(settings, extracted)
    return extracted


def _claim(target: Path, snapshot: Snapshot) -> bool:
    """Make the directory ours; return whether an extraction of this snapshot was begun there."""
    marker = target / _MARKER
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(path.name for path in target.iterdir())
        begun = marker.read_text().strip() if marker.name in found else None
    except OSError as error:
        raise PrerequisiteError(
            f"cannot use the directory: {error.strerror or error}", where=str(target)
        ) from error
    if begun == snapshot.id:
        return True
    if found:
        raise UsageError(
            "the directory is not empty",
            where=str(target),
            hint="name an empty or a new one",
        )
    write_atomically(marker, f"{snapshot.id}\n".encode(), mode=0o600)
    return False


def compare(settings: BackupSettings, extracted: Extracted) -> None:
    """Compare what was extracted with the manifest, and read the audit log from its first row.

    Raises:
        DamageError: something is missing or differs.
    """
    manifest = extracted.source.manifest
    for part in manifest.parts:
        if part.kind is Kind.TREE:
            if part.present and not extracted.at(Path(part.source)).is_dir():
                raise DamageError("the tree is not in the snapshot", where=part.name)
            continue
        copy = extracted.copies / (part.staged or "")
        if not copy.is_file() or sha256_of(copy) != part.sha256:
            raise DamageError("its copy is not the one that the manifest names", where=part.name)
        if part.audited:
            report = log_in(part, copy, manifest, settings.timeout_s)
            if not report.ok:
                raise DamageError(
                    f"the audit log is bad at row {report.first_bad}: {report.reason}",
                    where=part.name,
                )
