"""The directories that the commands write: their place, their rights, locks, free space."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.errors import AgencyError
from agency.locks import try_lock
from agency.paths import state_dir

_MIB = 1024 * 1024
LEAST_BYTES = 200 * _MIB
ENOUGH_BYTES = 1024 * _MIB
_LEAST_FILES = 1000
_BASES = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


def look_at_directories(subject: Subject) -> Iterator[Finding]:
    """Look whether the directories of state and of temporary files can be written."""
    for name in _BASES:
        value = subject.environ.get(name)
        if value and not Path(value).is_absolute():
            yield bad(
                name,
                f"is {value!r}, a relative path: each directory would have state of its own",
                f"set {name} to an absolute path, or unset it",
            )
    state = state_dir(subject.environ)
    yield _writable("state", state)
    if state.is_dir() and stat.S_IMODE(state.stat().st_mode) & 0o022:
        yield bad("state", f"others can write {state}", f"chmod go-w {shlex.quote(str(state))}")
    yield _temporary()


def _writable(subject: str, directory: Path) -> Finding:
    above = existing(directory)
    if not above.is_dir():
        return bad(subject, f"{above} is not a directory", "move it away, or set XDG_STATE_HOME")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        return bad(
            subject,
            f"{above} cannot be written: {error.strerror or error}",
            "make it writable, or set XDG_STATE_HOME to a directory that is",
        )
    return ok(subject, f"{directory} is writable")


def _temporary() -> Finding:
    try:
        directory = tempfile.gettempdir()
        with tempfile.TemporaryFile():
            pass
    except OSError as error:
        told = f"no temporary file can be made: {error.strerror or error}"
        return bad("temporary files", told, "set TMPDIR to a directory that is writable")
    return ok("temporary files", f"{directory} is writable")


def existing(path: Path) -> Path:
    """Return the nearest path, itself or above, that exists."""
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def look_at_locks(subject: Subject) -> Iterator[Finding]:
    """Look whether the file system of the state has locks; some network mounts have none."""
    place = existing(state_dir(subject.environ))
    try:
        with tempfile.TemporaryDirectory(dir=place) as directory:
            descriptor = try_lock(Path(directory) / "lock")
    except OSError:  # told by the look at the directories
        return
    except AgencyError as error:
        yield bad("locks", f"{place}: {error.message}", error.hint or "set XDG_STATE_HOME")
        return
    if descriptor is not None:
        os.close(descriptor)
    yield ok("locks", f"{place} has locks")


def look_at_space(subject: Subject) -> Iterator[Finding]:
    """Look at the free space and the free files of each place that is written."""
    places = {"state": existing(state_dir(subject.environ)), "temporary files": _temporary_place()}
    if subject.directory is not None:
        places["instance"] = existing(subject.directory.absolute())
    for name, place in places.items():
        yield space(f"space for {name}", place)


def _temporary_place() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # told by the look at the directories
        return Path("/")


def space(subject: str, place: Path) -> Finding:
    """Judge the free space and the free files of one place."""
    free = shutil.disk_usage(place).free
    status = os.statvfs(place)
    told = f"{free // _MIB} MiB free at {place}"
    remedy = "remove what is not needed there; `agency down` removes a local agency's data"
    if free < LEAST_BYTES:
        return bad(subject, told, remedy)
    if status.f_files and status.f_favail < _LEAST_FILES:
        return bad(subject, f"{status.f_favail} files can be made at {place}", remedy)
    if free < ENOUGH_BYTES:
        return note(subject, told, remedy)
    return ok(subject, told)
