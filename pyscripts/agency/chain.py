"""A hash chain: every link holds the previous link's hash, and its own covers all its fields.

A chain reveals a change inside it. Links cut off its end are revealed by a head kept elsewhere, for
example in a transcript. The control plane's audit log and the agents' logs are chains; each has its
own type of link.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar

from agency.canonical import canonical_json, sha256_hex


class Link(Protocol):
    """Link of a chain: a frozen dataclass with at least these fields, `sequence` from 1."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def sequence(self) -> int:
        """Place in the chain."""

    @property
    def previous(self) -> str:
        """Hash of the link before it, or of the genesis."""

    @property
    def hash(self) -> str:
        """Hash over all other fields."""


LinkT = TypeVar("LinkT", bound=Link)


@dataclass(frozen=True, slots=True)
class Head:
    """End of a chain: number and hash of its last link; number 0 and the genesis if it is empty."""

    sequence: int
    hash: str


class Fault(Enum):
    """Faults of a link that does not follow a head."""

    MISSING = "links before it are missing"
    REPEATED = "it comes twice or out of order"
    EDITED = "its hash is not that of its fields"
    FOREIGN = "it does not follow the link before it"


def genesis(log: str, **owner: str) -> Head:
    """Make the head of an empty chain, bound to the kind of log and its owner."""
    return Head(0, sha256_hex(canonical_json({"log": log, **owner})))


def link_hash(link: Link) -> str:
    """Compute the correct hash of a link: over all its fields but the hash itself."""
    fields = asdict(link)
    del fields["hash"]
    return sha256_hex(canonical_json(fields))


def sealed(link: LinkT) -> LinkT:
    """Return a copy of a link with its hash filled in."""
    return replace(link, hash=link_hash(link))


def place_fault_of(head: Head, link: Link) -> Fault | None:
    """Judge whether a link, whose own hash was checked when it was read, follows a head."""
    wanted = head.sequence + 1
    if link.sequence != wanted:
        return Fault.MISSING if link.sequence > wanted else Fault.REPEATED
    return None if link.previous == head.hash else Fault.FOREIGN


def fault_of(head: Head, link: Link) -> Fault | None:
    """Judge whether a link follows a head and is as it was sealed; None if so."""
    fault = place_fault_of(head, link)
    if fault in (None, Fault.FOREIGN) and link.hash != link_hash(link):
        return Fault.EDITED
    return fault


def head_of(link: Link) -> Head:
    """Make the head of a chain that ends with this link."""
    return Head(link.sequence, link.hash)
