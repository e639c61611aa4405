"""The installed libraries that the program needs, and their digest.

The digest is the SHA-256 of one record a file, `<sha256 of content> <path>` and a NUL, sorted by
the bytes of the path. Paths and digests are those of the RECORD files that installing wrote
(PyPA, "Recording installed projects"); the copy that runs is compared with them, file by file. Not
counted are bytecode, .pth files, scripts outside the libraries' directory, and what says how and
by whom a library was installed.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError

_OWN = "agency"
_EXTRAS = frozenset(("full", "local", "guest", "postgresql"))
# The libraries of the suite of tests/guest, where it is run from here.
_SUITE = ("pytest", "pytest-testinfra", "pytest-asyncio", "pytest-timeout")
_HOW = frozenset(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws"))
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^]]*)\])?[^;]*(?:;(?P<when>.*))?\Z"
)
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
AGAIN = "install the libraries again: in a checkout remove .venv, then run make spinup"


@dataclass(frozen=True, slots=True)
class LibraryFile:
    """One file of a library: its path below the libraries' directory, its digest, its place."""

    path: str
    sha256: str
    place: str


@dataclass(frozen=True, slots=True)
class Libraries:
    """Every file of the libraries that the program can import, sorted by path."""

    files: tuple[LibraryFile, ...]

    @property
    def digest(self) -> str:
        """Digest of all of them."""
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(f"{file.sha256} {file.path}\0".encode())
        return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class _Installed:
    """One distribution: its directory of metadata, and the lines of its requirements."""

    info: Path
    requires: tuple[str, ...]


def sites() -> tuple[Path, ...]:
    """Return the directories of libraries of the environment that runs this, also without site."""
    venv = Path(sys.executable).parent.parent
    if (venv / "pyvenv.cfg").is_file():
        names = {"base": str(venv), "platbase": str(venv)}
        paths = [sysconfig.get_path(kind, "venv", names) for kind in ("purelib", "platlib")]
    else:
        paths = sys.path
    found = dict.fromkeys(Path(path) for path in paths if path)
    return tuple(path for path in found if path.is_dir())


def installed_libraries(places: Sequence[Path]) -> Libraries:
    """Find the libraries that the program requires, directly or not, with all of its extras.

    Raises:
        PrerequisiteError: one was installed without a list of its files.
    """
    distributions = _distributions(places)
    files: dict[str, LibraryFile] = {}
    for name in sorted(_needed(distributions)):
        for file in _recorded(distributions[name].info):
            other = files.setdefault(file.path, file)
            if other.sha256 != file.sha256:
                raise PrerequisiteError(
                    f"two libraries have a file of this name, the second is {name}",
                    where=file.place,
                    hint=AGAIN,
                )
    ordered = sorted(files.values(), key=lambda file: file.path.encode())
    return Libraries(tuple(ordered))


def state_of_installation(places: Sequence[Path]) -> str:
    """Digest what `installed_libraries` reads: while it is the same, so are the libraries."""
    whole = hashlib.sha256("\0".join(sorted(_EXTRAS)).encode())
    for place in places:
        for info in sorted(place.glob("*.dist-info")):
            for name in ("METADATA", "RECORD"):
                path = info / name
                content = path.read_bytes() if path.is_file() else b"none"
                whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _distributions(places: Iterable[Path]) -> dict[str, _Installed]:
    found: dict[str, _Installed] = {}
    for place in places:
        for info in sorted(place.glob("*.dist-info")):
            name, requires = "", list[str]()
            for line in (info / "METADATA").read_text(errors="replace").splitlines():
                if not line:
                    break  # then comes the description
                field, _, value = line.partition(": ")
                if field == "Name":
                    name = _normal(value)
                elif field == "Requires-Dist":
                    requires.append(value)
            found.setdefault(name, _Installed(info, tuple(requires)))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(distributions: Mapping[str, _Installed]) -> set[str]:
    """Return the names of what is needed and installed; markers other than extras count as true."""
    needed: set[tuple[str, str]] = set()  # name, extra
    left = [(_OWN, extra) for extra in ("", *_EXTRAS)] + [(name, "") for name in _SUITE]
    while left:
        name, extra = one = left.pop()
        if one in needed or name not in distributions:
            continue
        needed.add(one)
        left.append((name, ""))
        for line in distributions[name].requires:
            found = _REQUIREMENT.match(line.strip())
            if found is None:
                continue
            wanted = _EXTRA.findall(found["when"] or "")
            if wanted and extra not in wanted:
                continue
            extras = [part.strip() for part in (found["extras"] or "").split(",") if part.strip()]
            left += [(_normal(found["name"]), each) for each in ("", *extras)]
    return {name for name, _ in needed} - {_OWN}


def _recorded(info: Path) -> Iterator[LibraryFile]:
    """List the files of a distribution by its RECORD."""
    try:
        with (info / "RECORD").open(newline="") as record:
            rows = list(csv.reader(record))
    except FileNotFoundError:
        raise PrerequisiteError(
            "installed without a list of its files (RECORD), so it has no digest",
            where=str(info),
            hint="use an environment whose libraries pip installed",
        ) from None
    site, how = f"{info.parent}/", {f"{info.name}/{name}" for name in _HOW}
    for row in rows:
        path = row[0]
        if path.startswith("/") or path.endswith((".pyc", ".pth")) or path in how:
            continue
        if ".." in path.split("/"):  # a script, which belongs to the environment
            continue
        yield LibraryFile(path, _sha256(row, info), site + path)


def _sha256(row: Sequence[str], info: Path) -> str:
    algorithm, _, value = row[1].partition("=") if len(row) > 1 else ("", "", "")
    try:
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        digest = b""
    if algorithm != "sha256" or len(digest) != hashlib.sha256().digest_size:
        raise PrerequisiteError(f"no SHA-256 of {row[0]}", where=str(info / "RECORD"), hint=AGAIN)
    return digest.hex()
