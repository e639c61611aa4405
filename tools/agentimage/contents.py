"""Files of the agents' image: an interpreter, the libraries it needs, the package and its own.

The distributions are those of the extra `agent` in pyproject.toml, as set-up installed them by
their hashes. There is no shell, no package manager and no program with set-uid.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import marshal
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debian_packages import fail
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
EXTRA = "agent"
PYTHON, HOME = PurePosixPath("opt/python"), PurePosixPath("opt/agency")
VERSIONED = f"python{sys.version_info[0]}.{sys.version_info[1]}"
# Parts of the standard library that an agent does not load, and that are large.
LEFT_OUT = frozenset(
    [
        *("test", "tests", "idlelib", "turtledemo", "tkinter", "lib2to3", "ensurepip"),
        *("pydoc_data", "site-packages", "dist-packages", "__pycache__", "__phello__", "venv"),
        "distutils",
    ]
)
LEFT_OUT_NAMES = re.compile(r"config-.*|_test.*\.so|_tkinter.*\.so|.*\.(a|pyc|exe)|turtle\.py")
# By these a tool gateway starts its servers: they die with it, and their memory is bounded.
_STARTERS = ("setpriv", "prlimit")
_LDD = shutil.which("ldd") or "/usr/bin/ldd"  # of the machine's C library
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$")
_MISSING = re.compile(r"^\s*(\S+) => not found$", re.M)
# Of marshal's formats, the last without interned strings and references: a newer one tells of both
# by what the process has loaded, and the image would have another id.
_PLAIN = 2
_PASSWD = (
    b"root:x:0:0:root:/:/nonexistent\nagent:x:65534:65534:agent:/var/lib/agency:/nonexistent\n"
)
_GROUP = b"root:x:0:\nagent:x:65534:\n"


@dataclass(frozen=True)
class Entry:
    """One file, link or directory of the image."""

    path: PurePosixPath
    source: Path | None = None
    data: bytes | None = None
    link: str | None = None
    mode: int = 0o755

    @property
    def content(self) -> bytes:
        """The bytes of a file."""
        return self.source.read_bytes() if self.source is not None else self.data or b""

    @property
    def is_directory(self) -> bool:
        """True if it is neither a file nor a link."""
        return self.source is None and self.data is None and self.link is None


def distributions(package: str = "agency", extra: str = EXTRA) -> tuple[str, ...]:
    """Return the distributions that an extra of a package needs, with all that those need."""
    found: dict[str, None] = {}
    waiting = [(package, extra)]
    while waiting:
        name, extra = waiting.pop()
        for text in importlib.metadata.requires(name) or ():
            wanted = Requirement(text)
            # Of the package itself, only what the extra names: its base is for other programs.
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": extra})
            named = wanted.marker is not None and "extra" in str(wanted.marker)
            if not applies or (name == package and not named):
                continue
            if wanted.name.lower() not in found:
                found[wanted.name.lower()] = None
                waiting.append((wanted.name, ""))
    return tuple(sorted(found))


def standard_library() -> Iterator[Entry]:
    """Yield the interpreter and its standard library."""
    binary = Path(sys.executable).resolve()
    yield Entry(PYTHON / "bin" / VERSIONED, binary)
    library = Path(sysconfig.get_path("stdlib"))
    for source in _walk(library):
        yield Entry(
            PYTHON / "lib" / VERSIONED / source.relative_to(library).as_posix(),
            source,
            mode=_mode(source),
        )
    dynamic = Path(sysconfig.get_config_var("DESTSHARED") or library / "lib-dynload")
    if dynamic.is_dir() and not dynamic.is_relative_to(library):
        for source in _walk(dynamic):
            place = PYTHON / "lib" / VERSIONED / "lib-dynload"
            yield Entry(place / source.relative_to(dynamic).as_posix(), source, mode=_mode(source))


def _mode(source: Path) -> int:
    return 0o755 if os.access(source, os.X_OK) else 0o644


def _walk(directory: Path) -> Iterator[Path]:
    for source in sorted(directory.iterdir()):
        if source.name in LEFT_OUT or LEFT_OUT_NAMES.fullmatch(source.name):
            continue
        if source.is_dir():
            yield from _walk(source)
        elif source.is_file():
            yield source


def packages() -> Iterator[Entry]:
    """Yield the environment with the package and the distributions of the extra."""
    site = HOME / "lib" / VERSIONED / "site-packages"
    yield Entry(HOME / "bin" / "python3", link=f"/{PYTHON}/bin/{VERSIONED}")
    yield Entry(HOME / "pyvenv.cfg", data=f"home = /{PYTHON}/bin\n".encode(), mode=0o644)
    for name in distributions():
        found = importlib.metadata.distribution(name)
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            plain = not file.as_posix().startswith("../") and source.suffix != ".pyc"
            # Names of the machine that installed it, and a note for its package manager.
            noted = source.name in ("direct_url.json", "RECORD", "INSTALLER", "REQUESTED")
            if plain and not noted and source.is_file():
                yield Entry(site / file.as_posix(), source, mode=_mode(source))
    package = ROOT / "pyscripts"
    for source in _walk(package / "agency"):
        yield Entry(site / source.relative_to(package).as_posix(), source, mode=0o644)


def compiled(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield byte code for each module: the file system of a container is read-only.

    It is never compared with its source (PEP 552), so that times do not matter.
    """
    tag = sys.implementation.cache_tag
    for entry in entries:
        if entry.path.suffix != ".py":
            continue
        data = entry.content
        try:
            code = compile(data, f"/{entry.path}", "exec", dont_inherit=True, optimize=0)
        except SyntaxError:  # a template, or a sample of bad code
            continue
        body = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
        body += importlib.util.source_hash(data) + marshal.dumps(code, _PLAIN)
        place = entry.path.parent / "__pycache__" / f"{entry.path.stem}.{tag}.pyc"
        yield Entry(place, data=body, mode=0o644)


def starters() -> Iterator[Entry]:
    """Yield the programs of util-linux that a tool gateway starts its servers by."""
    for name in _STARTERS:
        found = shutil.which(name)
        if found is None:
            fail(f"there is no {name} on this machine (Debian: util-linux)")
        yield Entry(HOME / "bin" / name, Path(found).resolve())


def libraries(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the shared libraries that programs and modules need, at the places where they are."""
    found: dict[Path, None] = {}
    for entry in entries:
        source = entry.source
        if source is None or not (".so" in source.name or entry.path.parent.name == "bin"):
            continue
        done = subprocess.run(
            [_LDD, str(source)], capture_output=True, text=True, timeout=60, check=False
        )
        if missing := _MISSING.findall(done.stdout):
            fail(f"{source} needs {', '.join(missing)}, which this machine does not have")
        for line in done.stdout.splitlines():
            if match := _LIBRARY.match(line):
                found[Path(match[1])] = None
    own = {entry.source.resolve() for entry in entries if entry.source is not None}
    for path in sorted(found):
        if path.resolve() not in own:
            yield from _library(path)


def _library(path: Path) -> Iterator[Entry]:
    # The loader's path is in the program; all others are found by LD_LIBRARY_PATH.
    place = (
        path.as_posix().lstrip("/")
        if path.name.startswith("ld-")
        else f"{HOME}/libraries/{path.name}"
    )
    yield Entry(PurePosixPath(place), path.resolve())


def frame() -> Iterator[Entry]:
    """Yield what a root file system has beside programs."""
    for name in ("dev", "etc", "proc", "run", "run/agency", "sys", "var", "var/lib"):
        yield Entry(PurePosixPath(name))
    # What is mounted there takes its mode from here; there is one user in a container.
    for name in ("tmp", "var/lib/agency"):
        yield Entry(PurePosixPath(name), mode=0o1777)
    # Tool servers have an environment of their own: the loader looks here without one.
    yield Entry(PurePosixPath("usr/lib"), link=f"/{HOME}/libraries")
    yield Entry(PurePosixPath("etc/passwd"), data=_PASSWD, mode=0o644)
    yield Entry(PurePosixPath("etc/group"), data=_GROUP, mode=0o644)


def sources() -> list[Entry]:
    """Return what the image is made of; the rest of it follows from this."""
    entries = [*standard_library(), *packages(), *starters()]
    return [*frame(), *entries, *libraries(entries)]
