"""Places of a run: what is published of it, and what is private and gone at its end.

artifacts/recipes/<run>/          result.json, logs/<stage>.log, logs/services.log
<state>/recipes/runs/<domain>/    record.json, abra's state, secrets.json (0600)
<state>/recipes/runs/<domain>.lock   held while the run lives
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.locks import try_lock
from agency.paths import state_dir
from agency.recipes.naming import is_run_id

_RECORD = "record.json"


class RunBusyError(AgencyError):
    """A run that another process holds."""


class Record(BaseModel):
    """Record of a run, by which a later one can remove what it left behind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    recipe: str
    commit: str
    domain: str
    stack: Annotated[str, Field(min_length=10, max_length=45)]
    docker_url: str
    kept: bool = False


@dataclass(slots=True)
class Private:
    """Private directory of a run, locked by the app's domain."""

    path: Path
    _lock: int | None

    @property
    def secrets_file(self) -> Path:
        """Sidecar of the run's secrets."""
        return self.path / "secrets.json"

    def write_record(self, record: Record) -> None:
        """Write the record; nothing may be deployed before."""
        write_atomically(self.path / _RECORD, record.model_dump_json().encode(), mode=0o600)

    def release(self) -> None:
        """Release the lock; the directory stays."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove the directory with all secrets, then the lock."""
        shutil.rmtree(self.path)
        _lock_file(self.path).unlink(missing_ok=True)
        self.release()


def runs_directory() -> Path:
    """Return the directory of the private parts of this user's runs."""
    return state_dir() / "recipes" / "runs"


def _lock_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def create(base: Path, domain: str) -> Private:
    """Lock the app's domain and make its directory.

    Raises:
        RunBusyError: another process has a run of that domain.
        PrerequisiteError: the place cannot be written.
    """
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot keep runs here: {error.strerror}", where=str(base)
        ) from error
    private = hold(base / domain)
    if private is None:
        raise RunBusyError("another process runs this", where=domain)
    try:
        private.path.mkdir(mode=0o700)
    except OSError as error:
        private.release()
        raise PrerequisiteError(
            f"cannot make the run's directory: {error.strerror}", where=str(private.path)
        ) from error
    return private


def hold(path: Path) -> Private | None:
    """Take the lock of a run's directory; None if a living process has it."""
    descriptor = try_lock(_lock_file(path))
    return None if descriptor is None else Private(path, descriptor)


def directories(base: Path) -> Iterator[Path]:
    """List the private directories that runs have left or still use."""
    if base.is_dir():
        yield from sorted(path for path in base.iterdir() if path.is_dir())


def read_record(path: Path) -> Record | None:
    """Read the record of a run's directory; None if nothing was deployed yet.

    Raises:
        PrerequisiteError: it is there and cannot be understood.
    """
    try:
        record = Record.model_validate_json((path / _RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise PrerequisiteError(
            "the record of a run cannot be read",
            where=str(path / _RECORD),
            hint="look what that app has on the swarm, remove it, then this directory",
        ) from error
    # Whatever is removed is named by the stack: a record that names no run's stack removes nothing.
    if not is_run_id(record.run) or record.run not in record.stack:
        raise PrerequisiteError("the record names no run's stack", where=str(path / _RECORD))
    return record
