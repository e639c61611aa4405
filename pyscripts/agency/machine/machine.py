"""Interface of another machine that a spin-up uses: a guest, or a host over SSH."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from agency.errors import LoggedError

LOOK_S = 20.0
MAX_LINE = 1024 * 1024


class MachineError(LoggedError):
    """A machine is not in the needed state; `log_tail` says why."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Exit status and output of a program; `truncated` if it wrote more than the limit."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class Dialogue(Protocol):
    """Program on the machine that answers each line with a line."""

    async def ask(self, line: bytes, *, timeout_s: float) -> bytes:
        """Send a line and read the next one; both without line ends, at most MAX_LINE bytes.

        Raises:
            AgencyError: the program has ended, its answer is too long, or none came in time.
        """


class Machine(Protocol):
    """Machine on which programs run as root, and whose loopback ports can be reached."""

    @property
    def name(self) -> str:
        """Name of the machine for messages."""

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> Completed:
        """Run a program as root and return its result, whatever the exit status.

        Secrets travel by standard input only.

        Raises:
            AgencyError: it could not be started, or did not end in time.
        """

    def dialogue(self, *argv: str) -> AbstractAsyncContextManager[Dialogue]:
        """Run a program as root for the length of the block, and exchange lines with it."""

    def forward(self, port: int) -> AbstractAsyncContextManager[int]:
        """Forward a free loopback port of this machine to loopback port `port` of that machine."""

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """Return the --guest-host by which tests/guest reaches it, and the environment for that."""


async def run(machine: Machine, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> bytes:
    """Run a program that must succeed; return its standard output.

    Raises:
        MachineError: a non-zero exit status, with the end of its output.
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
