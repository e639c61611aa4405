"""Private copies of the libraries and of the source, with bytecode, kept for the next run.

KEPT/site has the files of a digest and their bytecode, nothing else; KEPT/manifest.json has
the SHA-256 of each, with the size, inode and times that it had then. A file whose times are as they
were is as it was, since who is not root cannot set the time of a change; any other is read again.
Whoever can write here can read the signing key, which lies beside it.
"""

from __future__ import annotations

import compileall
import functools
import hashlib
import json
import os
import py_compile
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from agency import locks
from agency.clock import new_id
from agency.errors import PrerequisiteError
from agency.files import private_directory
from agency.spinup.launch.libraries import (
    AGAIN,
    Libraries,
    installed_libraries,
    state_of_installation,
)

_MANIFEST = "manifest.json"
SITE = "site"
_OTHERS = 2  # sets of libraries kept beside the one in use
_IN_USE_S = 24 * 3600.0  # no spin-up is older
_FORGET_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A private copy of the libraries, and their digest."""

    place: Path
    digest: str

    @property
    def site(self) -> Path:
        """Directory to import from."""
        return self.place / SITE


def keep(base: Path, places: Sequence[Path]) -> Kept:
    """Return the private copy of the libraries in `places`, made now where none is intact.

    Raises:
        PrerequisiteError: a library has no list of its files, or one is not what was installed.
    """
    private_directory(base)
    with _locked(base):
        installation = state_of_installation(places)
        known = base / f".known-{installation}"  # the digest of an installation that was read
        digest = known.read_text() if known.is_file() else ""
        kept = _place(base, digest)
        if broken_kept(kept) is not None:
            libraries = installed_libraries(places)
            digest = libraries.digest
            kept = _place(base, digest)
            if broken_kept(kept) is not None:
                _make(kept, functools.partial(_copy, libraries))
            known.write_text(digest)
        os.utime(kept)
        _remove_old(base, kept)
    return Kept(kept, digest)


def _place(base: Path, digest: str) -> Path:
    return base / f"{digest or '0'}-{sys.implementation.cache_tag}"


def broken_kept(place: Path) -> str | None:
    """Return the path of a file that is not as it was when the copy was made, or None.

    So is one that is missing, or was added.
    """
    try:
        manifest: dict[str, list[object]] = json.loads((place / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return _MANIFEST
    left = dict(manifest)
    for path, facts in _facts(place / SITE):
        was = left.pop(path, None)
        if was is None:
            return path
        if was[1:] != facts and was[0] != _digest(place / SITE / path):
            return path
    return next(iter(left), None)


def _facts(site: Path) -> Iterator[tuple[str, list[object]]]:
    """Walk all files below a directory; each with size, inode, and times in nanoseconds."""
    below, top = [""], f"{site}/"
    while below:
        prefix = below.pop()
        with os.scandir(top + prefix) as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    below.append(f"{path}/")
                    continue
                found = entry.stat(follow_symlinks=False)
                yield path, [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def keep_directory(base: Path, name: str, fill: Callable[[Path], None]) -> Path:
    """Return the intact directory of this name, made now by `fill` where there is none."""
    private_directory(base)
    place = base / name
    with _locked(base):
        if broken_kept(place) is not None:
            _make(place, fill)
        os.utime(place)
        _remove_old(base, place)
    return place


def _make(place: Path, fill: Callable[[Path], None]) -> None:
    making = place.with_name(new_id(".making"))
    shutil.rmtree(place, ignore_errors=True)
    try:
        site = making / SITE
        site.mkdir(parents=True)
        fill(site)
        _seal(making)
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _copy(libraries: Libraries, site: Path) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("copying and compiling the libraries, once for each set of them\n")
    made: set[Path] = {site}
    for file in libraries.files:
        path = site / file.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        content = Path(file.place).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise PrerequisiteError(
                "not the file that was installed: its RECORD has another digest",
                where=file.place,
                hint=AGAIN,
            )
        path.write_bytes(content)
    _compile(site)


def _compile(site: Path) -> None:
    """Compile every module; one that does not compile is imported from its source, and fails."""
    with redirect_stdout(sys.stderr):
        compileall.compile_dir(
            site,
            quiet=2,
            workers=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _seal(making: Path) -> None:
    site = making / SITE
    manifest = {path: [_digest(site / path), *facts] for path, facts in _facts(site)}
    (making / _MANIFEST).write_text(json.dumps(manifest))


def _digest(path: Path) -> str:
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_old(base: Path, place: Path) -> None:
    """Remove what killed processes left half made, and sets that were not used for long."""
    for half_made in base.glob(".making*"):
        shutil.rmtree(half_made, ignore_errors=True)
    others = (path for path in base.iterdir() if path.is_dir() and path != place)
    oldest_last = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in oldest_last[_OTHERS:]:
        if path.stat().st_mtime < time.time() - _IN_USE_S:
            shutil.rmtree(path, ignore_errors=True)
    for known in base.glob(".known-*"):
        if known.stat().st_mtime < time.time() - _FORGET_S:
            known.unlink()


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    descriptor = os.open(base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        locks.take(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
