"""Evidence of a host that already runs, beside that of every agency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agency.transcript.rules.v2.guest import MIN_PACKAGES
from agency.transcript.rules.v2.model import Target
from agency.transcript.rules.v2.rule import (
    Count,
    MatrixId,
    Name,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    Version,
    matches,
)
from agency.transcript.rules.v2.suite import HostSuite

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


class HostAgent(Shape):
    """One of its agents."""

    name: Name
    matrix_id: MatrixId


class HostInstance(Shape):
    """Instance that the host's control plane runs, as its configuration names it."""

    name: Name
    domain: Seen
    operators: Some[MatrixId]
    agents: Some[HostAgent]


class HostProgram(Shape):
    """The agency's program on the host: its version, and the digest of all its files."""

    version: Version
    files: Count
    digest: Sha256


class HostSystem(Shape):
    """System of the host, and the agency that it runs."""

    os: Seen
    kernel: Seen
    system: NixosSystem | PackagedSystem = Field(discriminator="kind")
    instance: HostInstance
    program: HostProgram


RULES = (
    ProbeRule(
        "host.system",
        "The system that the host runs, by path or digest; the instance and the program on it.",
        HostSystem,
        SSH,
    ),
    ProbeRule(
        "suite.host",
        "Every test of tests/guest that a host at work can bear, one by one; none failed.",
        HostSuite,
        SSH,
    ),
)
