"""Debian's nginx with its stream module: the installed one, or one unpacked beside the system.

Unpacked means `apt-get download` and `dpkg --extract`: nothing is installed, and nothing starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from debian_programs import CACHE, unpack

# The first has the program, the second its types and parameters, the third the module.
PACKAGES = ("nginx", "nginx-common", "libnginx-mod-stream")


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
    kept = Nginx(CACHE / "nginx-with-stream")
    if not kept.root.is_dir() and (why := unpack(kept.root, *PACKAGES)):
        pytest.skip(f"nginx is not installed: {why}")
    assert kept.whole
    return kept
