"""Programs of Debian's packages for tests: those of this machine, else unpacked beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agency/test-packages"


def program(name: str, package: str) -> str:
    """The path of a program; the test is skipped by the name of the package if it is not to be had.

    No service is installed or started: the package is fetched and unpacked into a cache.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found:
        return found
    unpacked = CACHE / package
    if not unpacked.is_dir():
        unpack(unpacked, package)
    places = (unpacked / "usr/bin" / name, unpacked / "usr/sbin" / name)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        pytest.skip(f"{name} is not to be had: Debian has it in the package {package}")
    return str(path)


# Its own files in place of the machine's, for this process alone.
_WITH_SHARE = 'mount --bind "$1" /usr/share && shift && exec "$@"'


def command(name: str, package: str) -> tuple[str, ...]:
    """The begin of a command line, as `program`, for one that reads its package's /usr/share."""
    path = program(name, package)
    share = CACHE / package / "usr/share"
    if not path.startswith(str(CACHE)):
        return (path,)
    alone = (
        ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    )
    tried = subprocess.run([*alone, "true"], capture_output=True, timeout=30, check=False)
    if tried.returncode != 0:
        pytest.skip(f"{name} needs its files below /usr/share: install the package {package}")
    return (*alone, "sh", "-c", _WITH_SHARE, "sh", str(share), path)


def unpack(place: Path, *packages: str, suite: str | None = None) -> str:
    """Fetch and unpack packages; whoever is first puts them in place, whole.

    `suite` is another one than the machine's, such as trixie. Returns why they are not to be had;
    empty if they are there.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "this is no Debian"
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        directory = Path(name)
        options = ["-o", "APT::Sandbox::User=root", "-q"]
        if suite is not None:
            options += _beside(directory, suite)
            _apt(directory, *options, "update")
        fetched = _apt(directory, *options, "download", *packages)
        debs = sorted(directory.glob("*.deb"))
        if fetched.returncode != 0 or not debs:
            return f"it cannot be fetched: {fetched.stderr.strip()[-200:]}"
        made = directory / "unpacked"
        for deb in debs:
            subprocess.run(["dpkg", "-x", str(deb), str(made)], check=True, timeout=120)
        try:
            made.rename(place)
        except OSError:
            assert place.is_dir()  # another worker was faster
    return ""


def _apt(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", *argv], cwd=directory, capture_output=True, text=True, timeout=180, check=False
    )


def _beside(directory: Path, suite: str) -> list[str]:
    """Options of an apt that knows another suite of the machine's own mirror, and writes here."""
    asked = ("indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    mirrors = [one for one in _apt(directory, *asked).stdout.split() if "security" not in one]
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True)
    (directory / "sources.list").write_text(
        "".join(f"deb [signed-by={keyring}] {mirror} {suite} main\n" for mirror in mirrors[:1])
    )
    places = {
        "Etc::sourcelist": "sources.list",
        "Etc::sourceparts": "none",
        "State::lists": "lists",
        "Cache": "cache",
    }
    return [part for name, at in places.items() for part in ("-o", f"Dir::{name}={directory / at}")]
