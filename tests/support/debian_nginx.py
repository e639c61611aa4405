"""Debian's nginx with its stream module: the installed one, or one unpacked beside the system.

Unpacked means `apt-get download` and `dpkg --extract`: nothing is installed, and nothing starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency.files import write_atomically

# The first has the program, the second its types and parameters, the third the module.
PACKAGES = ("nginx", "nginx-common", "libnginx-mod-stream")
DOWNLOAD_S = 120


@dataclass(frozen=True)
class Nginx:
    """Where the parts of an nginx are."""

    root: Path

    @property
    def program(self) -> Path:
        return self.root / "usr/sbin/nginx"

    @property
    def module(self) -> Path:
        return self.root / "usr/lib/nginx/modules/ngx_stream_module.so"

    @property
    def settings(self) -> Path:
        return self.root / "etc/nginx"

    @property
    def whole(self) -> bool:
        return all(path.exists() for path in (self.program, self.module, self.settings))


def find_nginx() -> Nginx:
    """The installed one, or one that is fetched once; skips where there is no Debian archive."""
    installed = Nginx(Path("/"))
    if installed.whole:
        return installed
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("nginx is not installed, and this is no Debian")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = Nginx(cache / "agency" / "nginx")
    if not (kept.root / "whole").exists():
        _unpack(kept.root)
    assert kept.whole
    return kept


def _unpack(place: Path) -> None:
    """Fetch and unpack beside the place, and put it there when it is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        making = Path(name)
        argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
        done = subprocess.run(argv, cwd=making, capture_output=True, text=True, timeout=DOWNLOAD_S)
        if done.returncode != 0:
            pytest.skip(
                f"nginx is not installed and cannot be fetched: {done.stderr.strip()[-200:]}"
            )
        for deb in sorted(making.glob("*.deb")):
            argv = ["dpkg", "--extract", str(deb), str(making / "root")]
            subprocess.run(argv, check=True, timeout=60)
        write_atomically(making / "root" / "whole", b"")
        if not (place / "whole").exists():  # a second worker may have been faster
            shutil.rmtree(place, ignore_errors=True)
            (making / "root").rename(place)
