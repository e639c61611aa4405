"""Comparison of a transcript's subjects with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agency.canonical import canonical_json, sha256_hex
from agency.transcript.rules.v2.model import Statement

SYSTEM = "system"


def system_digest(image: str, files: Mapping[str, str], system: str | None = None) -> str:
    """Digest a guest's system: its image's fingerprint and every file laid down in it.

    On NixOS `system` is the hash of the system's NAR, and part of it.
    """
    whole = {} if system is None else {"system": system}
    return sha256_hex(canonical_json({"image": image, "files": dict(files), **whole}))


def broken_subjects(statement: Statement) -> Iterator[str]:
    """Yield how the subject `system` differs from what was seen in a guest, or lacks."""
    predicate = statement.predicate
    named: dict[str, str] = {
        subject.name: subject.digest["sha256"] for subject in statement.subject
    }
    seen = {entry.name: entry.evidence for entry in predicate.probes}
    image, files = seen.get("guest.image", {}), seen.get("activation.first", {})
    fingerprint, digests = image.get("fingerprint"), files.get("digests")
    if isinstance(fingerprint, str) and isinstance(digests, dict):
        whole = files.get("systemDigest")
        wanted = system_digest(
            fingerprint,
            {str(k): str(v) for k, v in digests.items()},
            None if whole is None else str(whole),
        )
        if named.get(SYSTEM) != wanted:
            yield f"the subject {SYSTEM} is not what guest.image and activation.first show"
