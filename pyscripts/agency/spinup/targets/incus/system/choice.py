"""Which system a guest boots: Debian with the exported units, or NixOS itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agency.guests import Kind, image_is_built

_NIXOS = Path("/etc/NIXOS")  # NixOS keeps it for programs that ask


class System(StrEnum):
    """What runs in a guest."""

    DEBIAN = "debian"
    NIXOS = "nixos"


class WantedSystem(StrEnum):
    """What a person asks for by `--image`."""

    AUTO = "auto"
    DEBIAN = "debian"
    NIXOS = "nixos"


@dataclass(frozen=True, slots=True)
class Host:
    """What the choice depends on; `built` when the NixOS image of this very source is here."""

    nixos: bool
    built: bool


@dataclass(frozen=True, slots=True)
class SystemDecision:
    """What a guest boots, and why, for the transcript."""

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
    """What this host has; `base` is where guests' materials are kept."""
    return Host(nixos.exists(), image_is_built(base, source, kind))
