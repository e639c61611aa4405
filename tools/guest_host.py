"""Installer of the packages that make guests, on Debian, as root; present ones are left alone.

Standard library only. Incus is in Debian 13 and newer; on Debian 12 it comes from backports, which
are taken from the archive that this machine uses already. If the host's Incus runs and has no
storage pool, as right after the installation of Debian's package, it gets one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from debian_packages import codename, fail, install, run, say

# Debian's packages, each with a program or file that shows that it, or a newer one, is installed.
PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "util-linux": "unshare",
    "uidmap": "newuidmap",
    "nftables": "nft",
    "git": "git",
    # Called by the tests of the backup.
    "restic": "restic",
    "age": "age-keygen",
    # Called by the tests of the target ssh, with its ssh-keygen.
    "openssh-client": "ssh",
    # Fetches the OpenID provider of guests.
    "npm": "npm",
    # Sets the authority that the browser trusts.
    "libnss3-tools": "certutil",
    # The first ones make the disk of a virtual machine; a test boots it in the emulator.
    "fdisk": "sfdisk",
    "dosfstools": "mkfs.vfat",
    "mtools": "mcopy",
    "e2fsprogs": "mke2fs",
    "qemu-utils": "qemu-img",
    "qemu-system-x86": "qemu-system-x86_64",
    "ovmf": "/usr/share/OVMF",
}
# Any of them logs people in through the edge; the first is what Debian has to install.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
INCUS = {"incus-base": "incusd", "incus-client": "incus"}
# Directories of programs that are on no PATH, or on root's only.
PLACES = "/usr/sbin:/sbin:/usr/libexec/incus:/usr/lib/incus"
WITHOUT_INCUS = ("bookworm",)
POOL = "agency"
TIMEOUT_S = 60


def is_here(sign: str) -> bool:
    """Return whether a program, or a file by its absolute path, is present."""
    path = f"{os.environ.get('PATH', os.defpath)}:{PLACES}"
    return Path(sign).exists() if sign.startswith("/") else bool(shutil.which(sign, path=path))


def missing(packages: Mapping[str, str]) -> tuple[str, ...]:
    """List the packages of which neither the program nor the file is present."""
    return tuple(package for package, sign in packages.items() if not is_here(sign))


def install_packages() -> None:
    """Install the missing packages."""
    plain, incus = missing(PACKAGES), missing(INCUS)
    if not any(map(is_here, BROWSERS)):
        plain += BROWSERS[:1]
    if not plain and not incus:
        return
    wanted = " ".join((*plain, *incus))
    if os.geteuid() != 0:
        fail(f"please install: {wanted} (Debian's names), or run this as root")
    release = codename()
    if release is None:
        fail(f"this is not Debian; install by your system's means what Debian calls {wanted}")
    if plain:
        install(*plain)
    if incus:
        install(*incus, backports_of=release if release in WITHOUT_INCUS else None)


def ensure_pool() -> None:
    """Give the host's Incus a storage pool if it has none.

    If it does not answer, nothing is done: guests then get an Incus of their own.
    """
    client = shutil.which("incus") or fail("there is no incus: its client was not installed")
    listed = subprocess.run(
        (client, "storage", "list", "local:", "--format", "csv"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if listed.returncode != 0 or listed.stdout.strip():
        return
    say(f"making the storage pool {POOL!r}: this machine's Incus has none")
    run(client, "storage", "create", f"local:{POOL}", "dir")


def main() -> None:
    """Install the missing packages, and prepare Incus for guests."""
    install_packages()
    if os.geteuid() == 0:
        ensure_pool()


if __name__ == "__main__":
    main()
