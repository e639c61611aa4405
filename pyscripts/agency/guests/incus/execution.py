"""Running programs in an instance by `incus exec`, the client's own command.

The client mixes its own failures with the exit status of the program. So the program is started by
a shell that writes one byte first: without that byte nothing was started, and what the client says
is the reason. A client that is killed ends the program, by Incus itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agency.guests.incus.errors import INSTALL_HINT, IncusError, IncusTimeoutError
from agency.machine import process
from agency.machine.completed import Completed
from agency.programs import find_program

_BEGIN_S = 15.0
_MARK = b"+"
_START = ("sh", "-c", 'printf +; exec "$@"', "sh")
_NOT_STARTED = (126, 127)
_BROKEN = 1  # the client's exit status for failures of its own
# The last two are where NixOS has programs.
_PATH = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ":/run/wrappers/bin:/run/current-system/sw/bin"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run in a guest: never a shell string. Paths in `env` are the guest's.

    Secrets may travel by standard input only.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int = 0
    gid: int = 0

    def client(self, name: str) -> tuple[str, ...]:
        """The call of Incus's client that runs it in an instance.

        Raises:
            PrerequisiteError: the client is not installed.
        """
        env = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", **self.env}
        return (
            *(find_program("incus", hint=INSTALL_HINT), "--force-local", "exec", "-T", name),
            *(f"--env={key}={value}" for key, value in env.items()),
            *(f"--user={self.uid}", f"--group={self.gid}", "--cwd=/"),
            *("--", *_START, *self.argv),
        )


def client_environment(socket: Path) -> dict[str, str]:
    """The environment of Incus's client: no configuration of a person's, our socket."""
    nowhere = {"HOME": "/nonexistent", "INCUS_CONF": "/nonexistent"}
    return {"PATH": os.environ.get("PATH", os.defpath), "INCUS_SOCKET": str(socket), **nowhere}


async def run(
    socket: Path, name: str, command: Command, *, stdin: bytes = b"", timeout_s: float
) -> Completed:
    """Run a program to its end; of each stream 4 MiB are kept.

    Raises:
        IncusTimeoutError: it did not end in time; it has been killed.
        IncusError: it could not be started, such as a program or user that does not exist, or
            the connection to Incus broke.
    """
    where = f"{name}: {command.argv[0]}"
    try:
        done = await process.run(
            command.client(name),
            client_environment(socket),
            stdin,
            timeout_s,
            most=process.MAX_OUTPUT + len(_MARK),
        )
    except TimeoutError as error:
        raise IncusTimeoutError(f"did not end within {timeout_s:g} s", where=where) from error
    return told(done, where)


def told(done: Completed, where: str) -> Completed:
    """Take the program's own end from the client's.

    Raises:
        IncusError: the client failed, or the program was not started.
    """
    lines = done.stderr.decode(errors="replace").splitlines()
    if not done.stdout.startswith(_MARK):
        raise _not_started(lines[-1] if lines else f"exit status {done.exit_status}", where)
    if done.exit_status in _NOT_STARTED:
        refusals = [line for line in lines if line.startswith("sh: ") and " exec: " in line]
        if refusals:
            raise _not_started(refusals[-1], where)
    if done.exit_status == _BROKEN and lines and lines[-1].startswith("Error: websocket:"):
        raise IncusError(f"the connection to Incus broke: {lines[-1]}", where=where)
    return Completed(
        done.exit_status, done.stdout.removeprefix(_MARK), done.stderr, truncated=done.truncated
    )


def _not_started(said: str, where: str) -> IncusError:
    status = 404 if "Instance not found" in said else 0
    return IncusError(f"could not be started: {said}", where=where, status=status)


@contextlib.asynccontextmanager
async def streams(
    socket: Path, name: str, command: Command
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program for the length of the block, its streams open; leaving ends it.

    Raises:
        IncusError: it could not be started.
    """
    where = f"{name}: {command.argv[0]}"
    async with process.started(command.client(name), client_environment(socket)) as started:
        try:
            async with asyncio.timeout(_BEGIN_S):
                begun = await started.stdout.read(len(_MARK)) if started.stdout else b""
                if begun != _MARK:
                    said = await started.stderr.read() if started.stderr else b""
                    lines = said.decode(errors="replace").splitlines()
                    raise _not_started(lines[-1] if lines else "no message", where)
        except TimeoutError as error:
            raise IncusTimeoutError(f"did not begin within {_BEGIN_S:g} s", where=where) from error
        yield started
