"""Marker `claim` of the suite's tests: the claim that a test shows, and where it may be left out.

A claim keeps its id when its tests are renamed or moved. The rules of transcripts and the table of
docs/isolation.md are made from the markers: `python tools/docgen/claims.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class Skip:
    """A test that may be left out: its exact words, and the only kind of machine."""

    reason: str
    case: str | None = None  # the one parameter set that may be; None: all tests of the claim
    image: tuple[str, str] | None = None  # field of the evidence guest.image, and its value
    guest: bool = True  # False: no throwaway guest may leave it out


@dataclass(frozen=True, slots=True)
class Claim:
    """The arguments of a marker."""

    id: str
    promise: str  # a row of the promises in docs/isolation.md
    disturbs: bool  # it interferes with the machine for a moment
    control: bool = False  # it shows what is allowed, or that its neighbours can tell
    may_skip: tuple[Skip, ...] = ()


def absent(path: str) -> Skip:
    """Return the skip for a path that Debian has and NixOS has not."""
    return Skip(f"there is no {path} on this machine", case=path, image=("system", "nixos"))


CONTAINER_MOUNTS = Skip(
    "a container does not hold what is mounted below /", case="/run", image=("kind", "container")
)
NO_CPU_CONTROLLER = Skip(
    "this machine is handed no controller of processors", image=("kind", "container")
)
LITTLE_MEMORY = Skip("this machine has no more memory than an agent may use")
HAS_NETWORK = Skip("a host that people use has a network", guest=False)


def claim_of(item: pytest.Item) -> Claim:
    """Return the claim that a test's markers name.

    Raises:
        UsageError: they name none or several, or one that is not well formed.
    """
    marks = list(item.iter_markers("claim"))
    if len(marks) != 1:
        raise pytest.UsageError(f"{item.nodeid} carries {len(marks)} claims; each test carries one")
    try:
        claim = Claim(*marks[0].args, **marks[0].kwargs)
    except TypeError as error:
        raise pytest.UsageError(f"{item.nodeid}: its claim is not well formed: {error}") from error
    for word in (claim.id, claim.promise):
        if not _ID.match(word):
            raise pytest.UsageError(f"{item.nodeid}: {word!r} is not lower-case words with hyphens")
    return claim
