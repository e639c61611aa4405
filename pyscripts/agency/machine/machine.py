"""The one way into a machine: a guest by `incus exec`, a host by ssh."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agency.errors import LoggedError
from agency.machine.completed import Completed

LOOK_S = 20.0


class MachineError(LoggedError):
    """Something on the machine is not as it has to be; `log_tail` says why."""


MAX_LINE = 1024 * 1024


class Dialogue(Protocol):
    """A program on the machine that answers lines with lines, one at a time."""

    async def ask(self, line: bytes, *, timeout_s: float) -> bytes:
        """Say a line and read the next one; both without their line ends, at most MAX_LINE bytes.

        Raises:
            AgencyError: the program has ended, says too much, or does not answer in time.
        """


class Machine(Protocol):
    """A machine on which programs run as root, and whose loopback ports can be reached."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> Completed:
        """Run a program as root, whatever its exit status; secrets by standard input only.

        Raises:
            AgencyError: it could not be started, or did not end in time.
        """

    def dialogue(self, *argv: str) -> AbstractAsyncContextManager[Dialogue]:
        """Run a program as root for the length of the block, and talk with it."""

    def forward(self, port: int) -> AbstractAsyncContextManager[int]:
        """Have a free loopback port of this machine lead to a loopback port of that one."""

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """How tests/guest reaches it: its --guest-host, and the environment that this needs."""


async def run(machine: Machine, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> bytes:
    """Run a program that must succeed; returns its standard output.

    Raises:
        MachineError: a non-zero exit status, with the end of what it said.
    """
    done = await machine.look(*argv, stdin=stdin, timeout_s=timeout_s)
    return succeeded(done, where=f"{machine.name}: {argv[0]}")


def succeeded(done: Completed, *, where: str) -> bytes:
    """Return the standard output of a program that must have succeeded.

    Raises:
        MachineError: it did not; with the end of what it said.
    """
    if done.exit_status != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").splitlines()
        raise MachineError(
            f"exit status {done.exit_status}: {said[-1] if said else 'no message'}",
            where=where,
            log_tail=tuple(said[-30:]),
        )
    return done.stdout
