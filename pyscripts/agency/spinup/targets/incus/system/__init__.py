"""What a guest boots, behind one interface: Debian with the exported units, or NixOS itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.guests.images.image import Image
from agency.guests.images.provider import ProviderPack
from agency.guests.incus.model import Kind
from agency.guests.machines.machine import Guest
from agency.instance.load import LoadedInstance
from agency.machine.machine import Machine
from agency.secrets.encryption.age import AgeKey
from agency.spinup.expected import Expected
from agency.spinup.record import Evidence


@dataclass(frozen=True, slots=True)
class Ground:
    """What a system is made from: `base` keeps materials, `source` is the checkout."""

    base: Path
    source: Path
    kind: Kind
    marker: str


@dataclass(frozen=True, slots=True)
class Programs:
    """Where programs are in a guest, by their absolute paths; its Python has the agency in it."""

    agency: str
    python: str
    node: str


class Convergence(Protocol):
    """Bringing a guest to its definitions, again and again."""

    @property
    def expected(self) -> Expected:
        """What the definitions ask for."""

    async def activate(self) -> Evidence:
        """Activate; evidence as `activation.first` needs it."""

    async def again(self) -> Evidence:
        """Activate a second time, and see that no unit was started anew."""

    async def drift(self) -> Evidence:
        """Change things by hand, look that a check finds them, and activate."""


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
        """Where programs are in the guest."""

    def image_facts(self) -> Evidence:
        """What the evidence `guest.image` says of this system alone."""

    async def provision(self, guest: Guest, loaded: LoadedInstance, key: AgeKey) -> None:
        """Put everything that the activation needs into a fresh guest, the run's key among it.

        Raises:
            GuestError: something cannot be put there or installed.
            PrerequisiteError: a program of this machine is missing.
        """

    async def packages(self, machine: Machine) -> Evidence:
        """What is installed in the guest, as its own package managers say."""

    def convergence(self, guest: Guest, *, timeout_s: float) -> Convergence:
        """How the provisioned guest is activated; one activation takes `timeout_s` at most."""


Hold = Callable[[Ground], AbstractAsyncContextManager[GuestSystem]]
