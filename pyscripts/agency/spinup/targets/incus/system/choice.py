"""Choice of a guest's system: Debian with the exported units, or NixOS itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency.guests import Kind, image_is_built

_NIXOS = Path("/etc/NIXOS")  # NixOS keeps it for programs that ask


class System(StrEnum):
    """Operating system of a guest."""

    DEBIAN = "debian"
    NIXOS = "nixos"


class WantedSystem(StrEnum):
    """Operating system that a person asks for by `--image`."""

    AUTO = "auto"
    DEBIAN = "debian"
    NIXOS = "nixos"


@dataclass(frozen=True, slots=True)
class Host:
    """Facts that the choice depends on; `built` if the NixOS image of this very source is here."""

    nixos: bool
    built: bool


@dataclass(frozen=True, slots=True)
class SystemDecision:
    """System that a guest boots, and the reason, for the transcript."""

    system: System
    reason: str


def choose_system(host: Host, wanted: WantedSystem) -> SystemDecision:
    """Choose between Debian and NixOS; whether the image can be had shows when it is held."""
    if wanted is WantedSystem.DEBIAN:
        return SystemDecision(System.DEBIAN, "a Debian image was asked for")
    if wanted is WantedSystem.NIXOS:
        return SystemDecision(System.NIXOS, "a NixOS image was asked for")
    if host.built:
        return SystemDecision(System.NIXOS, "the NixOS image of this source is built")
    if host.nixos:
        return SystemDecision(System.NIXOS, "the host is NixOS")
    return SystemDecision(
        System.DEBIAN, "the host is not NixOS, and no NixOS image of this source is built"
    )


def look_at_host(base: Path, source: Path, kind: Kind, *, nixos: Path = _NIXOS) -> Host:
    """Look up what this host has; `base` is where guests' materials are kept."""
    return Host(nixos.exists(), image_is_built(base, source, kind))
