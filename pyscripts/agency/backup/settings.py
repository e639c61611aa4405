"""Settings of a backup: one JSON file that NixOS writes, for the unit and for root by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from agency.instance import holds_password, sends_in_clear
from agency.secrets import names
from agency.settings import Strict, load

SETTINGS_FILE = Path("/etc/agency/backup.json")
HOUR_S = 3600


def _guarded(location: str) -> str:
    if sends_in_clear(location):
        raise PydanticCustomError("clear", "sends its credentials in clear: write https://")
    if holds_password(location):
        raise PydanticCustomError(
            "password",
            "holds a password: put it into the secret {name}",
            {"name": names.BACKUP_CREDENTIALS},
        )
    return location


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise PydanticCustomError("path", "must be an absolute path without '..'")
    return path


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
# With a suffix of ours, it is still within PostgreSQL's 63 bytes.
DatabaseName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,44}$")]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Location = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_guarded)]


class Retention(Strict):
    """Number of snapshots that are kept, of the newest of each day, week and month."""

    daily: int = Field(default=7, ge=1, le=3650)
    weekly: int = Field(default=5, ge=0, le=520)
    monthly: int = Field(default=12, ge=0, le=120)


class Store(Strict):
    """A SQLite file; `audited` is that of the control plane."""

    name: Name
    path: AbsolutePath
    audited: bool = False


class Server(Strict):
    """A PostgreSQL server on a local socket; `audited` is the control plane's database."""

    socket: AbsolutePath = Path("/run/postgresql")
    port: int = Field(default=5432, ge=1, le=65535)
    user: Name = "postgres"
    databases: tuple[DatabaseName, ...]
    audited: DatabaseName | None = None


class Tree(Strict):
    """A directory of files that restic reads as it is."""

    name: Name
    path: AbsolutePath


class BackupSettings(Strict):
    """Facts of a machine's backup; its secrets are credentials of their catalogue's names."""

    instance: str = Field(min_length=1, max_length=64)
    host: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")
    repository: Location
    state_dir: AbsolutePath = Path("/var/lib/agency-backup")
    metrics_file: AbsolutePath | None = None
    stores: tuple[Store, ...] = ()
    server: Server | None = None
    trees: tuple[Tree, ...] = ()
    units: tuple[str, ...] = Field(
        default=(), description="stopped before a restore in place, in this order"
    )
    retention: Retention = Retention()
    append_only: bool = Field(
        default=False, description="the place lets nothing be removed: nothing is tried to"
    )
    max_age_hours: int = Field(default=26, ge=1, le=24 * 366)
    timeout_hours: int = Field(default=6, ge=1, le=48, description="of one run of restic")

    @property
    def max_age_s(self) -> int:
        """Seconds after which the newest snapshot is late."""
        return self.max_age_hours * HOUR_S

    @property
    def timeout_s(self) -> int:
        """Seconds that one program may take."""
        return self.timeout_hours * HOUR_S


def load_settings(path: Path) -> BackupSettings:
    """Read the settings.

    Raises:
        PrerequisiteError: there are none. BadInputError: they are invalid.
    """
    return load(
        path,
        BackupSettings,
        what="the settings of the backup",
        hint="set `backup: {repository: ...}` in instance.yaml, run `agency render`, and switch",
    )
