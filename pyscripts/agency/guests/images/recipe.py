"""Recipe of a guest's image, as data whose digest names the image."""

from __future__ import annotations

import platform
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agency.canonical import canonical_json, sha256_hex
from agency.errors import PrerequisiteError
from agency.guests.images.disk.virtual import machine_files, machine_packages
from agency.guests.incus.model import Kind

# Raised whenever the same recipe would be built into something else, by what image_digest does not
# see.
BUILDER_VERSION = 1

Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
_UNIT = r"^[A-Za-z0-9:_.@-]+\.(service|socket|timer|target|mount|path)$"
Unit = Annotated[str, StringConstraints(pattern=_UNIT)]
# No part begins with a dot: none can lead elsewhere.
GuestPath = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_@-][A-Za-z0-9._@-]*)+$")]

_BASE = (
    *("systemd", "systemd-sysv", "dbus", "polkitd", "libpam-systemd"),
    *("nftables", "iproute2", "procps", "util-linux", "acl", "e2fsprogs"),
    *("postgresql", "nginx-light"),
    *("python3", "python3-venv", "age", "ca-certificates"),
    "nodejs",  # runs the OpenID provider that people log in through
)

# Nothing of the sort belongs into a machine that lives for minutes.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer"),
)

# Activation starts what the exported units and reconcilers say, and nothing starts before it.
_DISABLED = ("nginx.service", "postgresql.service")

_FILES = {
    "/etc/hostname": "throwaway\n",
    "/etc/hosts": "127.0.0.1 localhost throwaway\n::1 localhost\n",
    "/etc/resolv.conf": "# offline\n",
    "/etc/systemd/journald.conf.d/50-agency.conf": (
        "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitBurst=0\n"
    ),
}


class ImageRecipe(BaseModel):
    """A Debian image. `files` are written last; `epoch` is the newest time stamp in the image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    builder: int = BUILDER_VERSION
    kind: Kind = Kind.CONTAINER
    suite: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] = "bookworm"
    python: Annotated[str, StringConstraints(pattern=r"^3\.\d+$")] = "3.11"
    architecture: Literal["amd64", "arm64"]
    variant: Literal["minbase", "apt"] = "minbase"
    packages: tuple[Package, ...] = Field(default=_BASE, min_length=1)
    masked: tuple[Unit, ...] = _MASKED
    disabled: tuple[Unit, ...] = _DISABLED
    files: dict[GuestPath, str] = _FILES
    epoch: int = 1_700_000_000

    @property
    def digest(self) -> str:
        """The SHA-256 of the recipe's canonical JSON."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))


_ARCHITECTURES: dict[str, Literal["amd64", "arm64"]] = {"x86_64": "amd64", "aarch64": "arm64"}


def debian_architecture(machine: str | None = None) -> Literal["amd64", "arm64"]:
    """Debian's name of this machine's architecture.

    Raises:
        PrerequisiteError: guests are not made for it.
    """
    named = machine or platform.machine()
    if named not in _ARCHITECTURES:
        raise PrerequisiteError(
            f"no guest image is made for {named}",
            where="this machine",
            hint=f"use one of: {', '.join(_ARCHITECTURES)}",
        )
    return _ARCHITECTURES[named]


def default_recipe(kind: Kind = Kind.CONTAINER) -> ImageRecipe:
    """Return the recipe of the guest that spin-ups and sandboxes use, for the kind decided on."""
    architecture = debian_architecture()
    if kind is Kind.CONTAINER:
        return ImageRecipe(architecture=architecture)
    return ImageRecipe(
        kind=kind,
        architecture=architecture,
        packages=(*_BASE, *machine_packages(architecture)),
        files=_FILES | machine_files(),
    )
