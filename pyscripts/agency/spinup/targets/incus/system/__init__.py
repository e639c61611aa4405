"""Systems that a guest boots, behind one interface: Debian with the exported units, or NixOS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.guests import Guest, Image, Kind, ProviderPack
from agency.instance import LoadedInstance
from agency.secrets import AgeKey
from agency.spinup.convergence import Converging
from agency.spinup.record import Collect, Evidence


@dataclass(frozen=True, slots=True)
class Ground:
    """Origin of a system: `base` keeps materials, `source` is the checkout, `marker` the run."""

    base: Path
    source: Path
    kind: Kind
    marker: str
    parts: tuple[str, ...] = ()  # of the export, beside what every guest has
    packages: tuple[str, ...] = ()  # of Debian, beside those of the image
    unpacked: frozenset[str] = frozenset()  # those of them that are not to be configured


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths of programs in a guest; its Python has the agency in it."""

    agency: str
    python: str
    node: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A guest that can be activated: its packages, and how it comes to its definitions."""

    packages: Collect  # as its own package managers say
    convergence: Converging


class GuestSystem(Protocol):
    """A system whose materials are held: a guest can be made of it."""

    @property
    def image(self) -> Image:
        """The image that the guest boots."""

    @property
    def provider(self) -> ProviderPack:
        """The OpenID provider that people of the guest log in through."""

    @property
    def programs(self) -> Programs:
        """Absolute paths of programs in the guest."""

    def image_facts(self) -> Evidence:
        """Collect what the evidence `guest.image` says of this system alone."""

    async def provision(
        self, guest: Guest, loaded: LoadedInstance, key: AgeKey, *, timeout_s: float
    ) -> Provisioned:
        """Put everything that the activation needs into a fresh guest, the run's key among it.

        One activation takes `timeout_s` at most.

        Raises:
            MachineError: something cannot be put there or installed.
            PrerequisiteError: a program of this machine is missing.
        """


Hold = Callable[[Ground], AbstractAsyncContextManager[GuestSystem]]
