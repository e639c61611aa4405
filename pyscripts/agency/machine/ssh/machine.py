"""Host reached by the OpenSSH client over one shared connection.

Programs run as the user who logs in; the target checks that this is root. On the host too a program
ends when its time is up, also when the connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from agency import ports
from agency.children import MARKER_VARIABLE, Child, ChildSpec, start_child
from agency.files import write_atomically
from agency.machine import process
from agency.machine.machine import LOOK_S, Completed, Dialogue, MachineError
from agency.machine.ssh import failures, settings
from agency.programs import find_program

_HINT = "install the OpenSSH client (Debian: openssh-client)"
_CONTROL_S = 10.0
_STOP_S = 5.0
_GRACE_S = 5  # how much longer the host lets a program run than we wait for it
_POLL_S = 0.02
_LOG_LINES, _LOG_BYTES = 15, 16 * 1024
_FORWARDS = 3
_BROKEN = 255  # the exit status by which ssh speaks of itself
_NOT_STARTED = (126, 127)
# With these a caller could skip tests of the suite, or its assertions.
_STEERING = ("PYTEST", "PYTHON")


@dataclass(slots=True)
class SshMachine:
    """Machine over SSH. `name` is the destination as the person wrote it."""

    name: str
    _program: str
    _configuration: Path
    _connection: Child
    _environment: Mapping[str, str] = field(repr=False)

    async def look(self, *argv: str, stdin: bytes = b"", timeout_s: float = LOOK_S) -> Completed:
        """Run a program and return its result; output beyond 4 MiB a stream is dropped."""
        where = f"{self.name}: {argv[0]}"
        # The words become one line for the host's shell, so they are quoted for it.
        limit = str(math.ceil(timeout_s) + _GRACE_S)
        line = shlex.join(("timeout", "--signal=KILL", limit, *argv))
        try:
            done = await self._client("-T", "--", self.name, line, stdin=stdin, s=timeout_s)
        except TimeoutError as error:
            raise MachineError(f"did not end within {timeout_s:g} s", where=where) from error
        if done.exit_status == _BROKEN and self._connection.exit_status is not None:
            raise self.broken()
        if done.exit_status in _NOT_STARTED:
            said = done.stderr.decode(errors="replace").splitlines()
            raise MachineError(
                f"could not be started: {said[-1] if said else 'no message'}", where=where
            )
        return done

    def dialogue(self, *argv: str) -> AbstractAsyncContextManager[Dialogue]:
        """Run a program for the length of the block, and exchange lines with it."""
        command = self._ssh("-T", "--", self.name, shlex.join(argv))
        return process.dialogue(command, self._environment, f"{self.name}: {argv[0]}")

    @contextlib.asynccontextmanager
    async def forward(self, port: int) -> AsyncIterator[int]:
        """Forward a free loopback port of this machine to loopback port `port` of the host."""
        for attempt in range(1, _FORWARDS + 1):  # another program may take the port meanwhile
            local = ports.assign(["forward"], {})["forward"]
            what = f"{ports.LOOPBACK}:{local}:{ports.LOOPBACK}:{port}"
            done = await self._control("forward", "-L", what)
            if done.exit_status == 0:
                break
            if self._connection.exit_status is not None or attempt == _FORWARDS:
                raise self.broken(f"port {port} cannot be forwarded")
        try:
            yield local
        finally:
            if self._connection.exit_status is None:
                await self._control("cancel", "-L", what)

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """Return --guest-host and environment; the suite's ssh shares this connection alone."""
        query = urlencode({"ssh_config": str(self._configuration)})
        environment = suite_environment(self._environment)
        return f"ssh:{self.name}?{query}", environment

    async def guard(self) -> None:
        """Wait for the end of the connection, and raise MachineError with ssh's output then."""
        await self._connection.wait()
        raise self.broken()

    async def close(self) -> None:
        """End the connection; calling it twice is no error."""
        await self._connection.stop(_STOP_S)

    def broken(self, what: str = "the connection broke") -> MachineError:
        """Make the error for a connection that no longer works."""
        said = self._connection.log_tail(_LOG_LINES, _LOG_BYTES)
        last = f": {said[-1]}" if said else ""
        return MachineError(f"{what}{last}", where=self.name, log_tail=said)

    async def _control(self, order: str, *options: str) -> Completed:
        try:
            return await self._client("-O", order, *options, "--", self.name, s=_CONTROL_S)
        except TimeoutError as error:
            raise self.broken("the connection does not answer") from error

    async def _client(self, *options: str, stdin: bytes = b"", s: float) -> Completed:
        return await process.run(self._ssh(*options), self._environment, stdin, s)

    def _ssh(self, *options: str) -> tuple[str, ...]:
        return (self._program, "-F", str(self._configuration), *options)


def suite_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the suite, without variables that choose or change its tests."""
    return {name: text for name, text in environment.items() if not name.startswith(_STEERING)}


@contextlib.asynccontextmanager
async def connected(
    destination: str,
    *,
    options: Iterable[str] = (),
    directory: Path,
    marker: str,
    timeout_s: float = 30.0,
) -> AsyncIterator[SshMachine]:
    """Connect to a host for the length of the block.

    `destination` is [USER@]HOST, `options` are KEYWORD=VALUE (see `settings.OPTIONS`); the user's
    own configuration of ssh counts after them. `directory` is made for socket, configuration and
    log, and removed at the end. ssh never prompts, and it refuses a host whose key is not known.

    Raises:
        UsageError: a bad destination or option.
        PrerequisiteError: no ssh, or no connection; with ssh's output and what to do.
    """
    program = find_program("ssh", hint=_HINT)
    settings.check_destination(destination)
    given = settings.read_options(options)
    with _place(directory):
        socket = settings.socket_in(directory)
        mine = _write(directory / "connection.conf", settings.connection(given, socket, timeout_s))
        theirs = _write(directory / "passenger.conf", settings.passenger(socket))
        # All of it: the agent's socket, and what a ProxyCommand may need.
        env = {name: value for name, value in os.environ.items() if name != MARKER_VARIABLE}
        argv = (program, "-F", str(mine), "-N", "-T", "--", destination)
        spec = ChildSpec("ssh", argv, env, Path.cwd(), directory / "log")
        child = await start_child(spec, marker=marker)
        machine = SshMachine(destination, program, theirs, child, {**env, MARKER_VARIABLE: marker})
        try:
            await _wait_for(machine, child, socket, timeout_s)
            yield machine
        finally:
            await machine.close()


@contextlib.contextmanager
def _place(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o700)
    try:
        yield
    finally:
        if directory.exists():  # a run removes its own directory, with all in it, before
            shutil.rmtree(directory)


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text.encode(), mode=0o600)
    return path


async def _wait_for(machine: SshMachine, child: Child, socket: Path, timeout_s: float) -> None:
    """Wait until ssh has made its socket, which it does once it has logged in to the host."""
    try:
        async with asyncio.timeout(timeout_s):
            while not _is_there(socket):
                if child.exit_status is not None:
                    said = child.log_tail(_LOG_LINES, _LOG_BYTES)
                    raise failures.refused(machine.name, said)
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise failures.too_slow(machine.name, timeout_s) from error


def _is_there(path: Path) -> bool:
    return path.exists()
