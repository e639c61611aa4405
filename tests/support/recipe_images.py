"""Images for the recipes of tests/recipes, of Debian's packages: no registry is needed."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from debian_nginx import find_nginx
from docker_engine import Engine

NGINX = "agency-test/nginx:1.22"
_LIBRARY = re.compile(r"(/\S+\.so\S*)")
_APPLETS = ("sh", "cat", "test", "sleep", "wget", "base64", "printf", "cut")


def make_nginx_image(engine: Engine) -> None:
    """Give the engine an image with nginx and busybox."""
    program = find_nginx().program
    engine.cli("import", "-", NGINX, stdin=rootfs({"usr/sbin/nginx": program}))


def rootfs(programs: dict[str, Path]) -> bytes:
    """A root file system with busybox, programs, and the libraries that they load."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", dereference=True) as tar:
        tar.add(str(shutil.which("busybox")), "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        libraries: set[str] = set()
        for name, program in programs.items():
            tar.add(str(program), name)
            told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
            libraries |= set(_LIBRARY.findall(told.stdout))
        for library in sorted(libraries):
            tar.add(library, library.lstrip("/"))
        for name in ("tmp", "run", "proc", "dev", "srv", "var/lib/nginx", "var/log/nginx"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(directory)
        for name, text in {
            "etc/passwd": "root:x:0:0::/:/bin/sh\n",
            "etc/group": "root:x:0:\n",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return sink.getvalue()
