"""The machine itself: its loopback, its clock, its limits."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.errors import AgencyError
from agency.instance import instance_file
from agency.ports import LOOPBACK
from agency.programs import run_program

_TIMEOUT_S = 5.0
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
_DAY_S = 86400.0
_FEWEST_DESCRIPTORS = 1024
_LEAST_MEMORY_MIB = 512


def look_at_loopback(subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - one signature
    """Look whether a connection within this machine works."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            server.settimeout(_TIMEOUT_S)
            with socket.create_connection(server.getsockname(), _TIMEOUT_S):
                accepted, _ = server.accept()
                accepted.close()
    except OSError as error:
        told = f"{LOOPBACK} does not work: {error.strerror or error}"
        yield bad("loopback", told, "bring it up: `ip link set lo up`")
        return
    yield ok("loopback", f"{LOOPBACK} works")


def look_at_clock(subject: Subject) -> Iterator[Finding]:
    """Look whether the clock can be right: certificates and transcripts depend on it."""
    now = subject.clock.utc()
    remedy = "set it, and keep it: `timedatectl set-ntp true`"
    shown = now.strftime("%Y-%m-%d %H:%M UTC")
    newest = _newest(subject)
    if now < _EARLIEST:
        yield bad("clock", f"says {shown}, before this program was written", remedy)
    elif newest - now.timestamp() > _DAY_S:
        yield bad("clock", f"says {shown}, before the instance was last changed", remedy)
    else:
        yield ok("clock", shown)
    if _synchronized() is False:
        yield note("clock", "is not kept by a time server", remedy)


def _newest(subject: Subject) -> float:
    if subject.directory is None:
        return 0.0
    try:
        return instance_file(subject.directory).stat().st_mtime
    except OSError:  # told by the check of the instance
        return 0.0


def _synchronized() -> bool | None:
    """Ask systemd; None where nobody knows, as in a container."""
    if shutil.which("timedatectl") is None:
        return None
    argv = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        return run_program(argv, timeout=_TIMEOUT_S).strip() != b"no"
    except AgencyError:
        return None


def look_at_limits(subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - one signature
    """Look at the memory and the open files that a local agency needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEWEST_DESCRIPTORS:
        yield note(
            "open files",
            f"a process may have {soft}; Synapse needs {_FEWEST_DESCRIPTORS}",
            f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}",
        )
    else:
        yield ok("open files", f"a process may have {soft}")
    available = _available_mib()
    if available is not None and available < _LEAST_MEMORY_MIB:
        told = f"{available} MiB available; a local agency needs {_LEAST_MEMORY_MIB}"
        yield note("memory", told, "end programs that are not needed")
    elif available is not None:
        yield ok("memory", f"{available} MiB available")
    if os.geteuid() == 0 and os.environ.get("SUDO_UID"):
        yield note("user", "this is root by sudo: keys and state are those of root", "")


def _available_mib() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) // 1024 if found else None
