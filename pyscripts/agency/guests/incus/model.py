"""Values of requests to Incus and of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Kind of a guest, in the words of Incus."""

    CONTAINER = "container"
    VM = "virtual-machine"


@dataclass(frozen=True, slots=True)
class Server:
    """The Incus that answers."""

    version: str
    drivers: tuple[str, ...]  # of instances: "lxc", "qemu"

    @property
    def runs_vms(self) -> bool:
        """True if Incus reports a working driver for virtual machines."""
        return "qemu" in self.drivers

    @property
    def runs_containers(self) -> bool:
        """True if Incus reports a working driver for containers."""
        return "lxc" in self.drivers


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that a guest may use.

    `memory_mb` in MiB (without swap), `cpus` in cores, `processes` in processes and threads,
    `disk_gb` in GiB. Incus ignores `disk_gb` on storage pools without quotas, such as `dir` on a
    file system without project quotas.
    """

    memory_mb: int = 2048
    cpus: int = 2
    processes: int = 2048
    disk_gb: int = 8


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """An instance to make. It has a root disk and nothing else: no profile, no network device."""

    name: str
    kind: Kind
    image: str  # fingerprint
    pool: str
    limits: Limits
    labels: Mapping[str, str] = field(default_factory=dict)  # config keys user.agency.<key>

    def body(self) -> dict[str, Any]:
        """Make the request of POST /1.0/instances."""
        config = {
            "boot.autostart": "false",
            "limits.cpu": str(self.limits.cpus),
            "limits.memory": f"{self.limits.memory_mb}MiB",
            **{f"{LABEL}{key}": value for key, value in self.labels.items()},
        }
        if self.kind is Kind.CONTAINER:
            config |= _CONTAINER | {"limits.processes": str(self.limits.processes)}
        else:
            config |= _VM
        root = {
            "type": "disk",
            "path": "/",
            "pool": self.pool,
            "size": f"{self.limits.disk_gb}GiB",
        }
        return {
            "name": self.name,
            "type": str(self.kind),
            "source": {"type": "image", "fingerprint": self.image},
            "profiles": [],
            "config": config,
            "devices": {"root": root},
        }


LABEL = "user.agency."

_CONTAINER = {
    "limits.memory.swap": "false",
    "security.guestapi": "false",
    # Its users are nobody else's, on the host and in other guests.
    "security.idmap.isolated": "true",
    # systemd in the guest mounts procfs anew for ProtectProc and the like.
    "security.nesting": "true",
    "security.privileged": "false",
}

_VM = {
    "security.guestapi": "false",
    # The boot loader of the images is not signed.
    "security.secureboot": "false",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as Incus lists it; `labels` are its config keys user.agency.<key>."""

    name: str
    kind: Kind
    status: str  # "Running", "Stopped", "Error", ...
    labels: Mapping[str, str]
    devices: Mapping[str, Mapping[str, str]]
    created_at: str
    image: str | None

    @property
    def running(self) -> bool:
        """True if Incus says that it runs."""
        return self.status == "Running"

    @property
    def network_devices(self) -> tuple[str, ...]:
        """Names of its network devices; a guest has none."""
        return tuple(sorted(n for n, d in self.devices.items() if d.get("type") == "nic"))


def instance_from(raw: Mapping[str, Any]) -> Instance:
    """Read an instance as GET /1.0/instances/<name> gives it."""
    config = raw.get("expanded_config") or raw.get("config") or {}
    return Instance(
        name=str(raw["name"]),
        kind=Kind(raw["type"]),
        status=str(raw.get("status", "")),
        labels={
            key.removeprefix(LABEL): str(value)
            for key, value in config.items()
            if key.startswith(LABEL)
        },
        devices=raw.get("expanded_devices") or raw.get("devices") or {},
        created_at=str(raw.get("created_at", "")),
        image=config.get("volatile.base_image"),
    )


def server_from(raw: Mapping[str, Any]) -> Server:
    """Read the answer of GET /1.0."""
    environment = raw["environment"]
    return Server(
        version=str(environment["server_version"]),
        drivers=tuple(part.strip() for part in str(environment["driver"]).split("|")),
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that an instance uses now, in bytes; None where Incus cannot tell."""

    memory: int | None
    memory_peak: int | None
    processes: int | None
    cpu_ns: int | None
    disk: int | None


def usage_from(raw: Mapping[str, Any]) -> Usage:
    """Read the answer of GET /1.0/instances/<name>/state; Incus gives 0 or -1 for unknown."""

    def known(value: object) -> int | None:
        return value if isinstance(value, int) and value > 0 else None

    memory = raw.get("memory") or {}
    root = (raw.get("disk") or {}).get("root") or {}
    return Usage(
        memory=known(memory.get("usage")),
        memory_peak=known(memory.get("usage_peak")),
        processes=known(raw.get("processes")),
        cpu_ns=known((raw.get("cpu") or {}).get("usage")),
        disk=known(root.get("usage")),
    )
