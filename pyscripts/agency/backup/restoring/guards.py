"""Refusals before anything is restored: another instance's snapshot, a newer schema, no room."""

from __future__ import annotations

import shutil
from pathlib import Path

from agency.backup.manifest import Manifest
from agency.backup.settings import BackupSettings
from agency.control import SCHEMA
from agency.errors import BadInputError, PrerequisiteError

_SPARE = 64 * 1024**2


def refuse_foreign(settings: BackupSettings, manifest: Manifest, allowed: str | None) -> None:
    """Refuse a snapshot of another instance, unless that instance was named."""
    if manifest.instance in (settings.instance, allowed):
        return
    raise BadInputError(
        f"the snapshot is of the instance {manifest.instance!r}, this is {settings.instance!r}",
        where="the snapshot",
        hint=f"to take it all the same: --from-instance {manifest.instance}",
    )


def refuse_newer(manifest: Manifest) -> None:
    """Refuse a store that this program's control plane could not open."""
    if manifest.revision is None or manifest.revision in SCHEMA.revisions:
        return
    raise PrerequisiteError(
        f"the snapshot's store has revision {manifest.revision[:40]!r}, this version of the agency "
        f"knows revisions up to {SCHEMA.newest!r}",
        where="the snapshot",
        hint=f"restore with the agency that made it ({manifest.agency}) or a newer one",
    )


def refuse_narrow(target: Path, manifest: Manifest, *, copies: int) -> None:
    """Refuse when there is no room for that many copies of the parts."""
    wanted = copies * sum(part.size for part in manifest.parts) + _SPARE
    above = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(above).free
    if free < wanted:
        raise PrerequisiteError(
            f"{wanted // 1024**2} MiB are needed, {free // 1024**2} MiB are free",
            where=str(above),
            hint="free space; nothing was changed",
        )
