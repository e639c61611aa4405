"""Installer of Debian packages, also from backports, as root. Standard library only."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

SOURCES = Path("/etc/apt/sources.list.d")
OURS = SOURCES / "agency-backports.sources"
RELEASE = Path("/etc/os-release")
TIMEOUT_S = 1800
# The files that apt and dpkg lock, by fcntl(2).
LOCKS = (
    Path("/var/lib/dpkg/lock-frontend"),
    Path("/var/lib/dpkg/lock"),
    Path("/var/lib/apt/lists/lock"),
    Path("/var/cache/apt/archives/lock"),
)
LOCK_WAIT_S = 600.0
LOCK_POLL_S = 1.0
# struct flock: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi"


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"setup: {text}", flush=True)  # noqa: T201 - there is no rich yet


def fail(text: str) -> NoReturn:
    """Exit with the status for a missing prerequisite."""
    say(text)
    sys.exit(3)


def run(*argv: str, env: dict[str, str] | None = None) -> None:
    """Run a program, without questions; exit if it fails."""
    status = status_of(*argv, env=env)
    if status != 0:
        fail(f"`{' '.join(argv[:4])} ...` ended with status {status}")


def status_of(*argv: str, env: dict[str, str] | None = None) -> int:
    """Run a program, without questions, and return its exit status."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **(env or {})}
    return subprocess.run(argv, timeout=TIMEOUT_S, check=False, env=environment).returncode


def holder(lock: Path) -> int | None:
    """Return the process that holds a lock of apt or dpkg; None if the lock is free.

    The lock is only examined, not taken, so an apt that starts at this moment is not disturbed.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # missing, or not permitted: apt itself reports it
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid


def held() -> str | None:
    """Name the process that blocks apt, and the lock that it holds."""
    for lock in LOCKS:
        pid = holder(lock)
        if pid is not None:
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                name = "unknown"
            return f"process {pid} ({name}) holds {lock}"
    return None


def apt_get(*arguments: str, wait_s: float = LOCK_WAIT_S) -> None:
    """Run apt-get; wait at most `wait_s` for another apt or dpkg."""
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        while (reason := held()) is not None:
            if time.monotonic() >= deadline:
                fail(f"{reason} for {wait_s:.0f} s now; let it end, or end it, and run this again")
            if not said:
                say(f"{reason}; waiting for it, {wait_s:.0f} s at most")
                said = True
            time.sleep(LOCK_POLL_S)
        status = status_of("apt-get", *arguments)
        if status == 0:
            return
        if held() is None:  # else another apt took the lock first
            fail(f"`apt-get {' '.join(arguments[:3])} ...` ended with status {status}")


def codename(file: Path = RELEASE) -> str | None:
    """Return Debian's name of this release; None on another system."""
    if not file.exists():
        return None
    facts = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    if facts.get("ID", "").strip('"') != "debian" or shutil.which("apt-get") is None:
        return None
    return facts.get("VERSION_CODENAME", "").strip('"') or None


def install(*packages: str, backports_of: str | None = None, recommended: bool = False) -> None:
    """Install packages, as root on Debian; from a release's backports, if one is named."""
    say(f"installing {' '.join(packages)}")
    apt_get("update", "-q", "-q")
    target: tuple[str, ...] = ()
    if backports_of is not None:
        enable_backports(backports_of)
        target = ("--target-release", f"{backports_of}-backports")
    bare = () if recommended else ("--no-install-recommends",)
    apt_get("install", "-y", "-q", "-q", *bare, *target, *packages)


def enable_backports(release: str) -> None:
    """Add backports to apt's sources, unless they are there."""
    entries: list[dict[str, str]] = []
    for file in sorted(SOURCES.glob("*.sources")):
        entries += stanzas(file.read_text())
    for file in [Path("/etc/apt/sources.list"), *sorted(SOURCES.glob("*.list"))]:
        entries += one_line_stanzas(file.read_text()) if file.exists() else []
    if any(f"{release}-backports" in entry.get("Suites", "").split() for entry in entries):
        return
    text = backports(entries, release)
    if text is None:
        fail(f"apt's sources do not name {release}; please enable {release}-backports by hand")
    say(f"enabling {release}-backports: {OURS}")
    OURS.write_text(text)
    apt_get("update", "-q", "-q")


def backports(entries: list[dict[str, str]], release: str) -> str | None:
    """Make the sources entry for backports from the entry of the release itself."""
    for entry in entries:
        suites, types = entry.get("Suites", "").split(), entry.get("Types", "").split()
        if release in suites and "deb" in types and "main" in entry.get("Components", "").split():
            wanted = entry | {
                "Types": "deb",
                "Suites": f"{release}-backports",
                "Components": "main",
            }
            return "".join(f"{key}: {value}\n" for key, value in wanted.items())
    return None


def stanzas(text: str) -> list[dict[str, str]]:
    """Parse the entries of a deb822 sources file, without comments."""
    found: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            found.append(fields)
    return found


def one_line_stanzas(text: str) -> list[dict[str, str]]:
    """Parse the entries of a one-line sources file (`deb [options] URI SUITE COMPONENT...`)."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].replace("[", " [ ").replace("]", " ] ").split()
        if not words or words[0] != "deb":
            continue
        options: list[str] = []
        if "]" in words:
            end = words.index("]")
            options, words = words[2:end], [words[0], *words[end + 1 :]]
        entry = {"Types": "deb", "URIs": words[1], "Suites": words[2]}
        entry["Components"] = " ".join(words[3:])
        signed = [o.removeprefix("signed-by=") for o in options if o.startswith("signed-by=")]
        found.append(entry | ({"Signed-By": signed[0]} if signed else {}))
    return found
