"""What the evidence of a host that already runs must show, beside that of every agency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agency.spinup.transcript.model import Target
from agency.spinup.transcript.rules.guest import MIN_PACKAGES
from agency.spinup.transcript.rules.rule import (
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Version,
    matches,
)
from agency.spinup.transcript.rules.suite import HostSuite

SSH: frozenset[Target] = frozenset(("ssh",))

Toplevel = Annotated[
    str,
    matches(r"/nix/store/[0-9a-df-np-sv-z]{32}-nixos-system-\S{1,200}", "the path of a system"),
]


class NixosSystem(Shape):
    """The system that NixOS runs now: its path names everything that it is made of."""

    kind: Literal["nixos"]
    path: Toplevel
    version: Version


class PackagedSystem(Shape):
    """A system of Debian packages: how many, and the digest of their names and versions."""

    kind: Literal["debian"]
    packages: Annotated[int, Field(ge=MIN_PACKAGES)]
    digest: Sha256


class HostSystem(Shape):
    """What the host is."""

    os: Seen
    kernel: Seen
    system: NixosSystem | PackagedSystem = Field(discriminator="kind")


RULES = (
    ProbeRule("host.system", "The system that the host runs, by path or digest.", HostSystem, SSH),
    ProbeRule(
        "suite.host",
        "Every test of tests/guest that a host at work can bear, one by one; none failed.",
        HostSuite,
        SSH,
    ),
)
