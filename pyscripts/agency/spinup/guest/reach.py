"""A guest as a machine that a spin-up looks at: everything travels through Incus."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from agency.spinup.guest.forward import forward
from agency.spinup.guest.incus.execution import Command, Completed
from agency.spinup.guest.machine import Guest
from agency.spinup.guest.suite import incus_host
from agency.spinup.remote.machine import LOOK_S

_ROOT_UID = 0  # whose connections the guest's firewall lets through to every port of ours


@dataclass(frozen=True, slots=True)
class GuestMachine:
    """See remote.machine.Machine."""

    guest: Guest

    @property
    def name(self) -> str:
        """See Machine."""
        return self.guest.name

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> Completed:
        """See Machine."""
        return await self.guest.incus.exec(
            self.guest.name, Command(argv), stdin=stdin, timeout_s=timeout_s
        )

    def forward(self, port: int) -> AbstractAsyncContextManager[int]:
        """See Machine."""
        return forward(self.guest, port, uid=_ROOT_UID)

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """See Machine."""
        return incus_host(self.guest)
