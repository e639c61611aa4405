"""The two parts of a split Incus image: what describes it, and what it is named by.

Source: https://linuxcontainers.org/incus/docs/main/reference/image_format/
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agency.archive import File, archive
from agency.canonical import canonical_json
from agency.files import write_atomically

DIGEST_PROPERTY = "agency-digest"
FACTS = "facts.json"
METADATA = "metadata.tar"

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Description:
    """Facts for Incus about an image. `digest` is ours, `created` in seconds since 1970."""

    system: str
    release: str
    architecture: Literal["amd64", "arm64"]
    digest: str
    created: int


def metadata_tar(image: Description) -> bytes:
    """Pack the metadata tarball, the same bytes for the same description."""
    properties = {
        "description": f"throwaway guest, {image.system} {image.release}",
        "os": image.system,
        "release": image.release,
        DIGEST_PROPERTY: image.digest,
    }
    document = {
        "architecture": _MACHINES[image.architecture],
        "creation_date": image.created,
        "properties": properties,
    }
    content = canonical_json(document)  # JSON is YAML
    return archive([("metadata.yaml", File(content))], mtime=image.created)


def write_facts(directory: Path, rootfs: Path, image: Description, **facts: object) -> None:
    """Write the metadata of an image beside its root file system, and our facts about it."""
    metadata = directory / METADATA
    metadata.write_bytes(metadata_tar(image))
    facts["fingerprint"] = fingerprint(metadata, rootfs)
    write_atomically(directory / FACTS, canonical_json(facts) + b"\n")


def fingerprint(metadata: Path, rootfs: Path) -> str:
    """Compute Incus's name of a split image: the SHA-256 of both parts, one after the other."""
    digest = hashlib.sha256(metadata.read_bytes())
    with rootfs.open("rb") as handle:
        while chunk := handle.read(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()
