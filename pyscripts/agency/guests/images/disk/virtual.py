"""Additions to a Debian image by which it boots as a virtual machine of Incus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

# Fixed, so that the same recipe names the same disk.
ROOT_UUID = "6b1d2a64-50a9-4a6e-9f5f-0f4b1c1e7d01"

_SETUP = "/usr/local/lib/agency/incus-agent-setup"
_UNIT = f"""\
[Unit]
Description=Agent by which Incus reaches this machine
Documentation=https://linuxcontainers.org/incus/docs/main/
DefaultDependencies=no
Before=multi-user.target
StartLimitIntervalSec=60
StartLimitBurst=10

[Service]
Type=notify
WorkingDirectory=-/run/incus_agent
ExecStartPre=/usr/bin/python3 -I {_SETUP}
ExecStart=/run/incus_agent/incus-agent
Restart=on-failure
RestartSec=5s
"""
_RULE = (
    'SYMLINK=="virtio-ports/org.linuxcontainers.incus", TAG+="systemd", '
    'ENV{SYSTEMD_WANTS}+="incus-agent.service"\n'
)


def machine_packages(architecture: Literal["amd64", "arm64"]) -> tuple[str, ...]:
    """List a kernel, what finds the root file system, a boot loader, and devices by name.

    Debian's smaller kernel for clouds has no 9p, by which Incus offers its agent.
    """
    return (
        f"linux-image-{architecture}",
        *("initramfs-tools", "zstd", "udev", "kmod", "systemd-boot-efi"),
    )


def machine_files() -> dict[str, str]:
    """List the files of a machine: its unit fetches Incus's agent from the host, and starts it.

    The disk is as large as the guest's limit says: partition and file system grow at boot.
    """
    return {
        "/etc/fstab": f"UUID={ROOT_UUID} / ext4 errors=remount-ro,x-systemd.growfs 0 1\n",
        "/etc/repart.d/50-root.conf": "[Partition]\nType=root\n",
        "/etc/systemd/system/incus-agent.service": _UNIT,
        "/etc/udev/rules.d/99-incus-agent.rules": _RULE,
        _SETUP: Path(__file__).with_name("incus_agent_setup.py").read_text(),
    }
