"""Laying files over a machine: what is there, what differs, and the mending of it.

Everything is below directories that only root may write.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import sha256_hex
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.guests.activation.changes import Change
from agency.guests.activation.definitions import WantedFile

UNITS = "etc/systemd/system"
# What lies here is ours alone: a file that nothing wants is left over, or put in by hand.
OWN_PLACES = ("etc/agency", "etc/nftables.d", "usr/lib/agency")
OWN_PREFIX = "agency-"
_PREFIXED = ("usr/lib/sysusers.d", "usr/lib/tmpfiles.d")
# Where an administrator's overrides of a unit lie, strongest first.
_OVERRIDES = (
    *("etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient"),
    *("run/systemd/system", "usr/local/lib/systemd/system"),
)
_LINKS = (".wants", ".requires")  # what starts a unit, by its name
_SHORT = 12


@dataclass(frozen=True, slots=True)
class SeenFile:
    """State of a path: `digest` is that of a regular file's content, `detail` a link's target."""

    kind: str  # "file", "link", "directory", "other"
    digest: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    detail: str = ""

    def __str__(self) -> str:
        if self.kind != "file":
            return f"{self.kind} {self.detail}".strip()
        return f"{self.digest[:_SHORT]} {self.mode:04o} {self.uid}:{self.gid}"


def see(path: Path) -> SeenFile | None:
    """Examine a path without following a link; None if nothing is there."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return SeenFile("link", detail=str(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return SeenFile("directory")
    if not stat.S_ISREG(status.st_mode):
        return SeenFile("other")
    mode = stat.S_IMODE(status.st_mode)
    return SeenFile("file", sha256_hex(path.read_bytes()), mode, status.st_uid, status.st_gid)


def wanted_state(file: WantedFile) -> SeenFile:
    """Describe a wanted file as it looks when it is there."""
    return SeenFile("file", sha256_hex(file.content), file.mode)


def differences(
    wanted: Mapping[str, WantedFile], seen: Mapping[str, SeenFile], superfluous: Iterable[str]
) -> list[Change]:
    """List what differs, by path; `seen` is what is at the wanted and the superfluous paths."""
    changes = [
        Change("file", path, str(seen.get(path, "absent")), str(wanted_state(file)))
        for path, file in sorted(wanted.items())
        if seen.get(path) != wanted_state(file)
    ]
    gone = [Change("file", path, str(seen[path]), "absent") for path in sorted(superfluous)]
    return changes + gone


def template_of(unit: str) -> str:
    """Name the template of an instance; of any other unit, itself."""
    prefix, at, rest = unit.partition("@")
    return f"{prefix}@.{rest.rpartition('.')[2]}" if at else unit


def is_own_unit(name: str, wanted_units: frozenset[str]) -> bool:
    """Return whether this name among the units is ours to decide: a unit or its drop-ins."""
    stem = name.removesuffix(".d")
    return stem.startswith(OWN_PREFIX) or stem in wanted_units


def superfluous(root: Path, wanted: Mapping[str, WantedFile]) -> list[str]:
    """Paths that lie where all is ours, and that nothing wants."""
    units = frozenset(p.split("/")[3] for p in wanted if p.startswith(f"{UNITS}/"))
    found = [path for place in OWN_PLACES for path in _below(root, place) if path not in wanted]
    for place in _PREFIXED:
        found += [p for p in _below(root, place) if p not in wanted and _name(p, place)]
    for place in (UNITS, *_OVERRIDES):
        found += [
            path
            for path in _below(root, place)
            if path not in wanted
            and is_own_unit(path.removeprefix(f"{place}/").split("/")[0], units)
        ]
        found += [path for path in _below(root, place) if _starts_nothing(path, units)]
    return sorted(found)


def _starts_nothing(path: str, wanted_units: frozenset[str]) -> bool:
    """Return whether this is the link that starts a unit of ours which nothing defines any more."""
    directory, _, name = path.rpartition("/")
    return (
        directory.endswith(_LINKS)
        and name.startswith(OWN_PREFIX)
        and not {name, template_of(name)} & wanted_units
    )


def _name(path: str, place: str) -> bool:
    return path.removeprefix(f"{place}/").startswith(("agency-", "agency."))


def _below(root: Path, place: str) -> Iterator[str]:
    for directory, directories, files in os.walk(root / place, followlinks=False):
        links = [name for name in directories if (Path(directory) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(directory) / name).relative_to(root).as_posix()


def observe(root: Path, paths: Iterable[str]) -> dict[str, SeenFile]:
    """Examine the paths; return those that have something."""
    seen = ((path, see(root / path)) for path in paths)
    return {path: one for path, one in seen if one is not None}


def lay(root: Path, wanted: Mapping[str, WantedFile], changes: Iterable[Change]) -> None:
    """Mend each difference.

    Raises:
        PrerequisiteError: a place cannot be written.
    """
    # What is in the way first, however deep.
    for change in sorted(changes, key=lambda change: change.what in wanted):
        path = root / change.what
        try:
            file = wanted.get(change.what)
            if file is None:
                path.unlink()
                if path.parent.name.endswith(".d") and not any(path.parent.iterdir()):
                    path.parent.rmdir()
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            _make_directories(path.parent)
            write_atomically(path, file.content, mode=file.mode)
            os.chown(path, 0, 0, follow_symlinks=False)
        except OSError as error:
            raise PrerequisiteError(
                f"cannot be changed: {error.strerror or error}",
                where=str(path),
                hint="activation runs as root, on a file system that can be written",
            ) from error


def _make_directories(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        directory.unlink()
    if not directory.exists():
        _make_directories(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)
