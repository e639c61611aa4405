"""What an Incus must hold before a guest can be made: kind, storage pool, image."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from agency.errors import PrerequisiteError
from agency.guests.images.disk.split import DIGEST_PROPERTY
from agency.guests.images.image import KEPT_IMAGES, Image
from agency.guests.incus.client import Incus
from agency.guests.incus.daemon import POOL
from agency.guests.incus.errors import IncusError
from agency.guests.incus.model import Kind, Server

_IMPORT_S = 300.0


class WantedKind(StrEnum):
    """What a person asks a guest to be."""

    AUTO = "auto"
    VM = "vm"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a guest will be, and why, for the transcript."""

    kind: Kind
    reason: str


def decide(server: Server, wanted: WantedKind) -> Decision:
    """Choose between a virtual machine and a container; the image is made for what is chosen.

    Raises:
        PrerequisiteError: what is wanted cannot run here.
    """
    if wanted is WantedKind.VM and not server.runs_vms:
        raise PrerequisiteError(
            "this Incus reports no working driver for virtual machines",
            where="--guest vm",
            hint="it needs hardware virtualisation, vhost_vsock and QEMU; or use a container",
        )
    if wanted is WantedKind.VM:
        return Decision(Kind.VM, "a virtual machine was asked for")
    if wanted is WantedKind.AUTO and server.runs_vms:
        return Decision(Kind.VM, "the host reports a working driver for virtual machines")
    if not server.runs_containers:
        raise PrerequisiteError(
            "this Incus reports no working driver for containers",
            where=f"drivers: {', '.join(server.drivers) or 'none'}",
            hint="look at the log of incusd",
        )
    if wanted is WantedKind.CONTAINER:
        return Decision(Kind.CONTAINER, "a container was asked for")
    return Decision(Kind.CONTAINER, "the host reports no working driver for virtual machines")


async def choose_pool(incus: Incus, wanted: str | None = None) -> str:
    """The storage pool for guests: the one asked for, ours, or that of the default profile.

    Raises:
        PrerequisiteError: there is none.
    """
    pools = await incus.pools()
    default = await incus.root_pool_of_default_profile()
    candidates = [wanted] if wanted else [POOL, default]
    for name in candidates:
        if name in pools:
            return str(name)
    others = f"use one of: {', '.join(sorted(pools))}; or " if pools else ""
    raise PrerequisiteError(
        "there is no such storage pool" if wanted else "Incus has no storage pool for guests",
        where=wanted or "incus storage list",
        hint=f"{others}make it: incus storage create {shlex.quote(wanted or POOL)} dir",
    )


async def bring_in(incus: Incus, image: Image) -> bool:
    """Have Incus hold the image; returns whether it had to be brought in.

    Images of ours that no guest was made from of late are removed, but for the newest.
    """
    present = await incus.images()
    if image.fingerprint in present:
        return False
    try:
        await incus.import_image(image.metadata, image.rootfs, kind=image.kind, timeout_s=_IMPORT_S)
    except IncusError:
        if image.fingerprint in await incus.images():
            return False  # another run was faster
        raise
    used = {instance.image for instance in await incus.instances()}
    ours = [fp for fp, properties in present.items() if DIGEST_PROPERTY in properties]
    for fingerprint in ours[: max(0, len(ours) - (KEPT_IMAGES - 1))]:
        if fingerprint not in used:
            await incus.delete_image(fingerprint)
    return True
