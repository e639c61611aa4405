"""Root file systems of images: programs of this machine, with the libraries that they load."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

_LIBRARY = re.compile(r"(?:=>\s+)?(/\S+\.so\S*)\s+\(")
_MISSING = re.compile(r"(\S+) => not found")
_APPLETS = (
    "sh", "cat", "test", "sleep", "wget", "base64", "printf", "cut", "mkdir", "rm", "ls", "env",
)  # fmt: skip
_OF_NO_USE = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo"}


class Rootfs:
    """One root file system, as a tarball for `docker import`."""

    def __init__(self) -> None:
        self._sink = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._sink, mode="w", dereference=True)
        self._names: set[str] = set()
        self._linked: list[Path] = []
        self._search: list[str] = []
        self._tar.add(str(shutil.which("busybox")), "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            self._tar.addfile(link)
        for name in ("tmp", "run", "proc", "dev", "srv", "root"):
            self.directory(name, mode=0o1777 if name == "tmp" else 0o755)
        self.text("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:70:70::/tmp:/bin/sh\n")
        self.text("etc/group", "root:x:0:\napp:x:70:\n")
        self.text("etc/nsswitch.conf", "hosts: files dns\n")
        # glibc loads what looks names up when it does so, and no program says so.
        for library in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
            self._library(Path(f"/lib/{_multiarch()}/{library}"))

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        member = tarfile.TarInfo(name)
        data = text.encode()
        member.size, member.mode = len(data), mode
        self._tar.addfile(member, io.BytesIO(data))

    def directory(self, name: str, *, mode: int = 0o755, owner: int = 0) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
        self._tar.addfile(member)

    def program(self, name: str, path: Path) -> None:
        self._tar.add(str(path), name, filter=_plain)
        self._linked.append(path)

    def tree(self, name: str, place: Path, without: Iterable[str] = ()) -> None:
        """Add a directory; its libraries bring the libraries that they load."""
        left = set(without)

        def kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
            return None if Path(member.name).name in left else _plain(member)

        self._tar.add(str(place), name, filter=kept)
        self._linked += [
            one
            for one in place.rglob("*.so*")
            if one.is_file() and not left & set(one.relative_to(place).parts)
        ]

    def libraries_in(self, *places: Path) -> None:
        """Find libraries in unpacked packages, too."""
        self._search += map(str, places)

    def finish(self) -> bytes:
        found: set[str] = set()
        missing: set[str] = set()
        environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(self._search)}
        for path in self._linked:
            told = subprocess.run(
                ["ldd", str(path)], capture_output=True, text=True, env=environment
            )
            found |= set(_LIBRARY.findall(told.stdout))
            missing |= set(_MISSING.findall(told.stdout))
        have = {Path(one).name for one in found} | {one.name for one in self._linked}
        assert missing <= have, f"libraries that this machine lacks: {sorted(missing - have)}"
        for library in sorted(found):
            self._library(Path(library))
        self._tar.close()
        return self._sink.getvalue()

    def _library(self, path: Path) -> None:
        """Add a library where programs look for it, once; the loader where they name it."""
        name = f"lib/{_multiarch()}/{path.name}"
        if path.name.startswith("ld-linux"):
            name = str(path).lstrip("/")
        if name not in self._names:
            self._names.add(name)
            self._tar.add(str(path), name)


def python(root: Rootfs) -> None:
    """Add the interpreter that runs these tests, with its standard library."""
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    root.program("usr/local/bin/python3", base / "bin" / version)
    for library in base.glob("lib/libpython*.so*"):
        root.program(f"usr/local/lib/{library.name}", library)
    useless = _OF_NO_USE | {one.name for one in (base / "lib" / version).glob("config-*")}
    root.tree(f"usr/local/lib/{version}", base / "lib" / version, {"site-packages", *useless})


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _multiarch() -> str:
    return f"{os.uname().machine}-linux-gnu"
