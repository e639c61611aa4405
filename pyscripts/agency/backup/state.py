"""State of a machine's backup: the last success, for its next run and for Prometheus."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agency.backup.settings import BackupSettings
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.settings import Strict, load

_STATE = "last-success.json"


class LastSuccess(Strict):
    """The last backup that succeeded; `at` is in seconds since the epoch."""

    repository: str
    snapshot: str
    at: float = Field(ge=0)
    size: int = Field(ge=0)


def last_success(settings: BackupSettings) -> LastSuccess | None:
    """Read the last success; None if there was none."""
    path = settings.state_dir / _STATE
    return load(path, LastSuccess, what="the last success") if path.exists() else None


def note_success(settings: BackupSettings, done: LastSuccess) -> None:
    """Write the last success, and its metrics for the node exporter's textfile collector."""
    write_atomically(
        settings.state_dir / _STATE, done.model_dump_json().encode() + b"\n", mode=0o600
    )
    if settings.metrics_file is not None:
        write_atomically(settings.metrics_file, metrics(done).encode())


def metrics(done: LastSuccess) -> str:
    """Write metrics in Prometheus' text format."""
    return (
        "# HELP agency_backup_last_success_timestamp_seconds When the last backup succeeded.\n"
        "# TYPE agency_backup_last_success_timestamp_seconds gauge\n"
        f"agency_backup_last_success_timestamp_seconds {done.at:.0f}\n"
        "# HELP agency_backup_last_size_bytes What the last backup read.\n"
        "# TYPE agency_backup_last_size_bytes gauge\n"
        f"agency_backup_last_size_bytes {done.size}\n"
    )


def make_state_dir(directory: Path) -> None:
    """Make the state directory, for this user alone.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot make the directory: {error.strerror or error}",
            where=str(directory),
            hint="run this as root",
        ) from error
