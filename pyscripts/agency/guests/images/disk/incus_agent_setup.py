"""Have the agent of Incus in a virtual machine: copied from the share that the host offers.

Runs in the guest with the system's own Python, early in the boot, before the agent itself. The
host offers its share by 9p, by virtiofs or as a CD-ROM, whatever it has. A share that is gone is
no error when a copy is there from before, as after a restart of the agent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

PLACE = Path("/run/incus_agent")
AGENT = "incus-agent"
TIMEOUT_S = 20.0

_CDROM = "/dev/disk/by-id/scsi-0QEMU_QEMU_CD-ROM_incus_agent"

Run = Callable[[Sequence[str]], bool]


def mounts(share: Path) -> tuple[tuple[str, ...], ...]:
    """List the ways to mount the share, in the order in which they are tried."""
    at = str(share)
    return (
        ("mount", "-t", "9p", "-o", "ro,access=0,trans=virtio,msize=1048576", "config", at),
        ("mount", "-t", "virtiofs", "-o", "ro", "config", at),
        ("mount", "-o", "ro", _CDROM, at),
    )


def room(place: Path) -> tuple[str, ...]:
    """Make the call that mounts a file system of its own: from /run nothing may be executed."""
    return ("mount", "-t", "tmpfs", "-o", "mode=0700,size=64M,nosuid,nodev", "tmpfs", str(place))


def succeeds(argv: Sequence[str]) -> bool:
    """Return whether a program ends well; what it says goes to the journal."""
    try:
        return subprocess.run(argv, timeout=TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def set_up(place: Path = PLACE, run: Run = succeeds) -> bool:
    """Fill `place` from the share; returns whether an agent is there to be started."""
    run(("modprobe", "9pnet_virtio"))
    with tempfile.TemporaryDirectory(prefix="incus-agent-share-", dir=place.parent) as name:
        share = Path(name)
        if not any(run(argv) for argv in mounts(share)):
            return os.access(place / AGENT, os.X_OK)
        try:
            place.mkdir(mode=0o700, exist_ok=True)
            if os.path.ismount(place) or run(room(place)):
                shutil.copytree(share, place, dirs_exist_ok=True)
                place.chmod(0o700)
        finally:
            run(("umount", str(share)))
    return os.access(place / AGENT, os.X_OK)


if __name__ == "__main__":
    if not set_up():
        sys.exit("the host offers no share with the agent")
