"""Verification of the newest snapshot: its repository, its manifest, its audit log, its age."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.backup.auditing import log_of_dump, log_of_store
from agency.backup.manifest import MAX_BYTES, Included, Manifest
from agency.backup.opening import open_repository
from agency.backup.plan import MANIFEST, Kind, staging_of
from agency.backup.restic import DamageError, Repository, Snapshot
from agency.backup.settings import HOUR_S, BackupSettings
from agency.backup.state import make_state_dir
from agency.clock import Clock
from agency.control import ChainReport
from agency.errors import AgencyError, BadInputError
from agency.settings import parse

LATEST = "latest"
_AHEAD_S = 15 * 60  # by which a clock may have been set back since


@dataclass(frozen=True, slots=True)
class Verified:
    """Result: `findings` is empty when nothing is wrong."""

    snapshot: Snapshot
    manifest: Manifest | None
    age_s: float
    read_percent: int
    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings


def verify_backup(settings: BackupSettings, clock: Clock, *, read_percent: int) -> Verified:
    """Verify the newest snapshot of this instance.

    Raises:
        PrerequisiteError: the repository cannot be opened. BadInputError: there is no snapshot.
    """
    make_state_dir(settings.state_dir)
    repository = open_repository(settings)
    snapshot = choose(existing(settings, repository), LATEST, settings.instance)
    findings: list[str] = []
    manifest = None
    try:
        repository.check(read_percent)
    except DamageError as error:
        findings.append(error.message)
    try:
        staging = staging_in(settings, snapshot)
        manifest = manifest_of(repository, snapshot, staging)
        findings += _compare(settings, repository, snapshot, manifest, staging)
    except (DamageError, BadInputError) as error:
        findings.append(f"{error.where}: {error.message}" if error.where else error.message)
    age = clock.wall() - snapshot.time
    findings += _of_age(settings, snapshot, age)
    return Verified(snapshot, manifest, age, read_percent, tuple(findings))


def _of_age(settings: BackupSettings, snapshot: Snapshot, age: float) -> Iterator[str]:
    """Find a snapshot late, or of the future: that would be the newest until its time comes."""
    if age > settings.max_age_s:
        yield (
            f"the newest snapshot is {age / HOUR_S:.1f} hours old; "
            f"{settings.max_age_hours} are allowed"
        )
    elif age < -_AHEAD_S:
        yield (
            f"the newest snapshot is {-age / HOUR_S:.1f} hours in the future: set this machine's "
            f"clock, or, if it was wrong then, `restic forget {snapshot.id[:8]}`"
        )


def existing(settings: BackupSettings, repository: Repository) -> Sequence[Snapshot]:
    """List the agency's snapshots in the repository, oldest first.

    Raises:
        BadInputError: there is no repository.
    """
    if not repository.exists():
        raise BadInputError(
            "there is no repository",
            where=settings.repository,
            hint="`agency backup create` makes it, with a first snapshot",
        )
    return repository.snapshots()


def choose(snapshots: Sequence[Snapshot], which: str, instance: str) -> Snapshot:
    """Choose a snapshot: the newest of the instance, or the one whose id begins so.

    Raises:
        BadInputError: there is none, or several.
    """
    if which == LATEST:
        own = [one for one in snapshots if one.instance == instance]
        if not own:
            raise BadInputError(
                f"there is no snapshot of the instance {instance!r}",
                where="the repository",
                hint="`agency backup list` shows what is there",
            )
        return own[-1]
    found = [one for one in snapshots if one.id.startswith(which)]
    if len(found) != 1:
        raise BadInputError(
            f"{len(found) or 'no'} snapshots have an id that begins with {which!r}",
            where="the repository",
            hint="`agency backup list` shows them",
        )
    return found[0]


def staging_in(settings: BackupSettings, snapshot: Snapshot) -> Path:
    """Return the path of the copies within a snapshot: where this machine has its own.

    A machine with another state directory may have made it; then one path alone must be called so,
    for a tree's content is not ours.

    Raises:
        DamageError: it has none, or it cannot be told which.
    """
    own = staging_of(settings)
    if str(own) in snapshot.paths:
        return own
    found = [Path(path) for path in snapshot.paths if Path(path).name == own.name]
    if len(found) == 1:
        return found[0]
    told = ", ".join(map(str, found))
    raise DamageError(
        f"several paths may hold its copies: {told}"
        if found
        else "the snapshot holds no copies and no manifest",
        where=snapshot.id[:8],
        hint="set state_dir to that of the machine that made it" if found else None,
    )


def manifest_of(repository: Repository, snapshot: Snapshot, staging: Path) -> Manifest:
    """Read the manifest of a snapshot.

    Raises:
        DamageError: it is not there. BadInputError: it is invalid.
    """
    data = bytearray()

    def take(chunk: bytes) -> None:
        if len(data) <= MAX_BYTES:
            data.extend(chunk)

    repository.dump(snapshot.id, staging / MANIFEST, take)
    return read_manifest(bytes(data), snapshot.id[:8])


def read_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Raises:
        BadInputError: it is invalid, or of a version that this program does not know.
    """
    return parse(
        Manifest, data, where=where, hint="was the snapshot made by a newer version of the agency?"
    )


def _compare(
    settings: BackupSettings,
    repository: Repository,
    snapshot: Snapshot,
    manifest: Manifest,
    staging: Path,
) -> Iterator[str]:
    if manifest.instance != snapshot.instance:
        yield f"the manifest is of the instance {manifest.instance!r}"
    for path in manifest.parts:
        if path.kind is Kind.TREE and path.present and path.source not in snapshot.paths:
            yield f"{path.name}: {path.source} is not in the snapshot"
    for part in manifest.staged():
        try:
            source = staging / (part.staged or "")
            yield from _of_copy(settings, repository, snapshot, manifest, part, source)
        except AgencyError as error:
            yield f"{part.name}: {error.message}"


def _of_copy(
    settings: BackupSettings,
    repository: Repository,
    snapshot: Snapshot,
    manifest: Manifest,
    part: Included,
    source: Path,
) -> Iterator[str]:
    """Compare a copy with the manifest; one with the audit log is read from its first row."""
    digest = hashlib.sha256()
    if not part.audited:
        repository.dump(snapshot.id, source, digest.update)
        if digest.hexdigest() != part.sha256:
            yield f"{part.name}: its copy is not the one that the manifest names"
        return
    with tempfile.TemporaryDirectory(dir=settings.state_dir, prefix="verify-") as directory:
        target = Path(directory) / source.name
        with target.open("wb") as handle:
            repository.dump(snapshot.id, source, _both(digest.update, handle.write))
        if digest.hexdigest() != part.sha256:
            yield f"{part.name}: its copy is not the one that the manifest names"
            return
        report = log_in(part, target, manifest, settings.timeout_s)
        if not report.ok:
            yield f"{part.name}: the audit log is bad at row {report.first_bad}: {report.reason}"


def log_in(part: Included, copy: Path, manifest: Manifest, timeout: float) -> ChainReport:
    """Verify the audit log of a copy, up to the very head that the manifest names.

    Raises:
        BadInputError: the manifest names no head, or the copy holds no log.
    """
    if manifest.audit is None:
        raise BadInputError("the manifest names no head of the audit log", where=part.name)
    if part.kind is Kind.STORE:
        report = log_of_store(copy, manifest.audit, manifest.instance)
    else:
        report = log_of_dump(copy, manifest.audit, manifest.instance, timeout)
    if report.ok and report.count != manifest.audit.count:
        told = f"the log has {report.count} rows, the manifest says {manifest.audit.count}"
        return ChainReport(False, report.count, report.head, report.count, told)
    return report


def _both(
    one: Callable[[bytes], object], other: Callable[[bytes], object]
) -> Callable[[bytes], None]:
    def take(chunk: bytes) -> None:
        one(chunk)
        other(chunk)

    return take
