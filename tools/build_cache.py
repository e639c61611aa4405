"""Per-user cache of programs that set-up builds. Standard library only.

An entry is one file, named by program, version and its own SHA-256. Each use computes the digest
again, so a damaged entry is found, removed and rebuilt. An entry gets its name when it is complete.
A build holds a lock, so that a second set-up waits and uses the first one's result.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from debian_packages import fail, say

LOCK_WAIT_S = 1800.0
LOCK_POLL_S = 0.2


@dataclass(frozen=True)
class Build:
    """One version of a program; `takes` is the time of its build on two cores.

    `target` is the target of the Makefile that builds it.
    """

    name: str
    version: str
    takes: str
    target: str = "setup-tools"

    @property
    def key(self) -> str:
        """The beginning of the entry's name."""
        return f"{self.name}-{self.version}-{platform.system().lower()}-{platform.machine()}"


def cache_directory() -> Path | None:
    """Return this user's cache directory; None if the user owns none.

    Root with another user's home (sudo) must not run programs that this user may have put there.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    if not Path(chosen).is_absolute() and not Path(home).is_absolute():
        return None
    base = Path(chosen) if Path(chosen).is_absolute() else Path(home) / ".cache"
    directory = base / "agency"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError:
        return None
    return directory if status.st_uid == os.geteuid() and not status.st_mode & 0o022 else None


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, without hashlib.file_digest: Python may be before 3.11."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def find(build: Build, directory: Path | None) -> Path | None:
    """Return the intact entry of a build, or None."""
    if directory is None:
        return None
    entries = sorted(directory.glob(f"{build.key}-*"))
    return next((entry for entry in entries if is_whole(build, entry)), None)


def is_whole(build: Build, entry: Path) -> bool:
    """Return whether an entry's name holds its digest."""
    try:
        return entry.name == f"{build.key}-{digest(entry)}"
    except FileNotFoundError:  # the holder of the lock has just removed a damaged entry
        return False


def take(build: Build, target: Path, make: Callable[[Path], None]) -> None:
    """Put a program at `target`: from the cache, or built by `make` into a directory."""
    directory = cache_directory()
    if directory is None:
        say("this user owns no cache directory: the build is not kept")
        with tempfile.TemporaryDirectory(prefix="agency-build-") as place:
            _copy(_made(build, Path(place), make), target)
        return
    entry = find(build, directory)
    if entry is None:
        with _locked(directory / f".{build.key}.lock", build):
            entry = find(build, directory) or _kept(build, directory, make)
    _copy(entry, target)


def _kept(build: Build, directory: Path, make: Callable[[Path], None]) -> Path:
    """Build into the cache, under the lock; first remove what killed set-ups left."""
    unnamed = f".making-{build.key}-"
    for left in directory.glob(f"{unnamed}*"):
        shutil.rmtree(left)
    for entry in directory.glob(f"{build.key}-*"):
        say(f"{entry} is damaged, and is removed")
        entry.unlink()
    with tempfile.TemporaryDirectory(prefix=unnamed, dir=directory) as place:
        program = _made(build, Path(place), make)
        entry = directory / f"{build.key}-{digest(program)}"
        program.rename(entry)
    say(f"kept in {directory}")
    return entry


def _made(build: Build, place: Path, make: Callable[[Path], None]) -> Path:
    say(f"building {build.name} {build.version}: {build.takes}, once for each user")
    begun = time.monotonic()
    make(place)
    program = place / build.name
    if not program.is_file():
        fail(f"the build of {build.name} {build.version} left no program {build.name}")
    program.chmod(0o755)
    say(f"built {build.name} {build.version} in {time.monotonic() - begun:.0f} s")
    return program


def _copy(program: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(descriptor)
    unnamed = Path(name)
    try:
        shutil.copyfile(program, unnamed)
        unnamed.chmod(0o755)
        unnamed.rename(target)
    finally:
        unnamed.unlink(missing_ok=True)


@contextmanager
def _locked(lock: Path, build: Build) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_S
    said = False
    try:
        while not _locks(descriptor):
            if time.monotonic() >= deadline:
                fail(f"another set-up builds {build.name} for {LOCK_WAIT_S:.0f} s now: {lock}")
            if not said:
                say(f"another set-up builds {build.name}; waiting for it")
                said = True
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
