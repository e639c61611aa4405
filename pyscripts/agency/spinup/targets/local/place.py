"""Place of the local agency: its lock, its directory, and the state that is written there.

    `agency up` ── takes the lock, hands it over ──▶ supervisor, which holds it to its end
    `agency status`, `agency down`, a second `up` ── is the lock held? by whom? ──▶ lock file

There is one local agency for each state directory. What it knows lies in one directory, which
outlives the supervisor: only `agency down` removes it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from agency import rundir
from agency.children import kill_marked, stat_fields
from agency.clock import new_id
from agency.errors import BadInputError, LoggedError, PrerequisiteError
from agency.files import write_atomically
from agency.locks import is_held, try_lock
from agency.paths import state_dir
from agency.rundir import RunDirectory
from agency.settings import Strict

_LOCK = "agency.lock"
_STATE = "state.json"
_START_TIME = 19  # proc(5), field 22 of /proc/PID/stat
_KILL_S = 5.0


class LocalAgencyError(LoggedError):
    """Failure of the local agency; `log_tail` is the end of the log that explains it."""


class ServiceState(Strict):
    """One service as its supervisor sees it; `failures` counts the starts in a row that failed."""

    name: str
    running: bool = False
    since: str
    failures: int = 0
    problem: str | None = None
    log: Path
    log_end: tuple[str, ...] = ()
    next_start: str | None = None


class LocalState(Strict):
    """Facts about a local agency, in `state.json` of its directory, also when it does not run."""

    pid: int
    started_at: str
    ready_at: str | None = None  # when it was first ready; None: it has not been in this run
    instance: str
    instance_file: Path
    domain: str
    homeserver: str
    control: str
    api: str | None = None  # for people's programs
    nobody_approves: bool = False  # so what needs an approval never runs
    only_on_hosts: Mapping[str, tuple[str, ...]] = {}  # features that do nothing here, by agent
    control_room: str
    operator: str
    login_file: Path
    password_file: Path
    hs_token_file: Path
    logs: Path
    ports: Mapping[str, int]
    services: tuple[ServiceState, ...] = ()
    problem: str | None = Field(default=None, description="why nobody could be logged in")

    def failures(self) -> int:
        """Count how often the worst service has failed in a row."""
        return max((service.failures for service in self.services), default=0)


def base_dir() -> Path:
    """Return the directory below which the local agency lives."""
    return state_dir() / "local"


@dataclass(slots=True)
class Lock:
    """Held lock of the local agency; whoever has the descriptor holds it."""

    descriptor: int

    def names(self, pid: int) -> None:
        """Write down which process supervises, for those who want to end it."""
        content = json.dumps({"pid": pid, "start": _start_time(pid)}).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def release(self) -> None:
        """Let go; another holder of the descriptor still holds it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _start_time(pid: int) -> int:
    return int(stat_fields(pid)[_START_TIME])


def take_lock() -> Lock | None:
    """Take the lock of the local agency; None if another process has it.

    Raises:
        PrerequisiteError: the place cannot be written, or has no locks.
    """
    base = base_dir()
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(f"cannot be made: {error.strerror}", where=str(base)) from error
    descriptor = try_lock(base / _LOCK)
    if descriptor is None:
        return None
    os.ftruncate(descriptor, 0)  # nobody is ended for a supervisor of old
    return Lock(descriptor)


def is_running() -> bool:
    """Return whether a local agency runs, starts or stops."""
    return is_held(base_dir() / _LOCK)


def supervisor() -> int | None:
    """Find the pid of the supervisor that holds the lock; None while there is none yet."""
    try:
        told = json.loads((base_dir() / _LOCK).read_text())
        pid = int(told["pid"])
        return pid if _start_time(pid) == told["start"] else None
    except (OSError, ValueError, KeyError, TypeError):  # not written yet, or it has just ended
        return None


def directories() -> list[Path]:
    """List the directories of local agencies, the newest first; more than one is left of old."""
    base = base_dir()
    if not base.is_dir():
        return []
    found = [path for path in base.iterdir() if path.is_dir() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def read_state(directory: Path | None = None) -> LocalState | None:
    """Read the state of the local agency, running or kept; None if it has written none."""
    for place in directories() if directory is None else [directory]:
        try:
            return LocalState.model_validate_json((place / _STATE).read_text())
        except (FileNotFoundError, ValidationError):  # of an earlier version: all it says is gone
            continue
    return None


def write_state(directory: Path, state: LocalState) -> None:
    """Write the state for those who ask how the local agency is."""
    write_atomically(directory / _STATE, state.model_dump_json(indent=2).encode())


def open_directory(domain: str) -> tuple[RunDirectory, LocalState | None]:
    """Open the directory that was kept, or make one; return it with what was known before.

    Call it with the lock held. Processes that a killed supervisor left are ended first.

    Raises:
        BadInputError: what was kept is of another domain.
    """
    kept = directories()[:1]
    known = read_state(kept[0]) if kept else None
    if known is not None and known.domain != domain:
        raise BadInputError(
            f"the local agency that was kept is of {known.domain}, not of {domain}",
            where=str(kept[0]),
            hint=f"go on with it: agency up --instance {known.instance_file}; or remove it: "
            "agency down",
        )
    name = kept[0].name if kept else new_id("up")
    kill_marked(name, _KILL_S)
    directory = rundir.create(base_dir(), name)
    for left in directory.credentials.glob("credentials-*"):  # of a supervisor that was killed
        shutil.rmtree(left)
    return directory, known


def end_leftovers() -> None:
    """End the processes that a killed supervisor left behind; call it with the lock held."""
    for directory in directories():
        kill_marked(directory.name, _KILL_S)


def size_bytes(directory: Path) -> int:
    """Add up the sizes of the files below a directory."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())
