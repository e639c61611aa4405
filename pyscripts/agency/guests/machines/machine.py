"""One throwaway machine: made, waited for, used, rebooted, destroyed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath

from agency import archive
from agency.errors import InternalError
from agency.guests.incus.client import Incus
from agency.guests.incus.errors import (
    INCUS_INSTALL_HINT,
    IncusError,
    IncusTimeoutError,
    is_missing,
)
from agency.guests.incus.execution import Command, Lines
from agency.guests.incus.model import Instance, InstanceSpec, Kind, Usage
from agency.guests.machines.forward import forward
from agency.machine import LOOK_S, Completed, Dialogue, MachineError, succeeded, units
from agency.programs import find_program

_CREATE_S = 180.0
_START_S = 60.0
_STOP_S = 30.0
_DESTROY_S = 60.0  # longer than what Incus may be busy with
_POLL_S = 0.1
_CONSOLE_LINES = 15
_ENDED_STATES = ("running", "degraded", "maintenance")


@dataclass(frozen=True, slots=True)
class SystemState:
    """State of the whole system in systemd's words, and the units that have failed."""

    state: str
    failed: tuple[str, ...]


GuestFile = archive.File


@dataclass(slots=True)
class Guest:
    """A Machine that exists in Incus. Nothing here decides who may use or remove it."""

    incus: Incus
    name: str
    kind: Kind

    @classmethod
    async def create(cls, incus: Incus, spec: InstanceSpec) -> Guest:
        """Make and start a machine; it boots when this returns.

        Raises:
            IncusError: it could not be made or started; nothing of it is left.
            InternalError: it has a network device, which no guest may have.
        """
        guest = cls(incus, spec.name, spec.kind)
        creating = asyncio.ensure_future(incus.create(spec, timeout_s=_CREATE_S))
        try:
            await asyncio.shield(creating)
            _refuse_network(await incus.instance(spec.name), spec.name)
            await incus.change_state(spec.name, "start", timeout_s=_START_S)
        except BaseException:
            # Incus goes on making what it began: only what is whole can be removed.
            await asyncio.wait({creating})
            await asyncio.shield(guest.destroy())
            raise
        return guest

    @classmethod
    def of(cls, incus: Incus, instance: Instance) -> Guest:
        """Return the machine of an instance that Incus already has."""
        return cls(incus, instance.name, instance.kind)

    async def wait_running(self, *, timeout_s: float, allow_degraded: bool = False) -> SystemState:
        """Wait until systemd has started everything.

        Raises:
            MachineError: a unit failed (each failed unit with the end of its journal), or it did
                not end in time (the jobs that still wait, and the console).
        """
        state = "unreachable"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    state = await self._system_state(timeout_s)
                    if state in _ENDED_STATES:
                        break
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise MachineError(
                f"systemd is {state!r} after {timeout_s:g} s, not running",
                where=self.name,
                hint="the log holds the jobs that still wait and the console; allow more time",
                log_tail=await self._what_it_waits_for(),
            ) from error
        failed = await units.failed(self) if state != "running" else ()
        if failed and not allow_degraded:
            raise await units.failure(self, failed)
        return SystemState(state, failed)

    async def _system_state(self, timeout_s: float) -> str:
        """systemd's own word, or what stands in its way while it starts."""
        try:
            done = await self.look("systemctl", "is-system-running", "--wait", timeout_s=timeout_s)
        except IncusTimeoutError:
            return "starting"
        except IncusError as error:
            if is_missing(error):
                raise
            return "unreachable"  # nothing runs in it yet, or the VM's agent does not answer
        return done.stdout.decode(errors="replace").strip() or "unreachable"

    async def _what_it_waits_for(self) -> tuple[str, ...]:
        try:
            jobs = await self.look("systemctl", "list-jobs", "--no-legend", "--no-pager")
            console = await self.incus.console_log(self.name)
        except IncusError as error:
            return (f"it cannot be looked into: {error.message}",)
        lines = [*jobs.stdout.decode(errors="replace").splitlines(), "console:"]
        return (*lines, *console.splitlines()[-_CONSOLE_LINES:])

    async def look(
        self,
        *argv: str,
        stdin: bytes = b"",
        timeout_s: float = LOOK_S,
        env: Mapping[str, str] | None = None,
        uid: int = 0,
        gid: int = 0,
    ) -> Completed:
        """Run a program, as root unless told otherwise, whatever its exit status; see Machine."""
        command = Command(argv, env or {}, uid, gid)
        return await self.incus.exec(self.name, command, stdin=stdin, timeout_s=timeout_s)

    async def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        timeout_s: float = LOOK_S,
        env: Mapping[str, str] | None = None,
        uid: int = 0,
        gid: int = 0,
    ) -> bytes:
        """Run a program that must succeed; returns its standard output.

        Raises:
            MachineError: a non-zero exit status, with the end of standard error.
            IncusError: it could not be started, or did not end in time.
        """
        done = await self.look(*argv, stdin=stdin, timeout_s=timeout_s, env=env, uid=uid, gid=gid)
        return succeeded(done, where=f"{self.name}: {argv[0]}")

    @contextlib.asynccontextmanager
    async def dialogue(self, *argv: str) -> AsyncIterator[Dialogue]:
        """Run a program for the length of the block, and talk with it; see Machine."""
        async with self.incus.streams(self.name, Command(argv)) as streams:
            try:
                yield Lines(streams)
            finally:
                await streams.kill()

    def forward(
        self, port: int, *, uid: int = 0, source: str | None = None
    ) -> AbstractAsyncContextManager[int]:
        """Have a loopback port of this machine lead to one of the guest; see Machine.

        In the guest `uid` opens the connections: its firewall lets root's through to our ports.
        They come from `source`, an address of its loopback, where that is given.
        """
        return forward(self.incus, self.name, port, uid=uid, source=source)

    def suite_host(self) -> tuple[str, Mapping[str, str]]:
        """Tell how tests/guest reaches the guest; see Machine.

        Raises:
            PrerequisiteError: Incus's client is not installed.
        """
        find_program("incus", hint=INCUS_INSTALL_HINT)
        return f"incus:{self.name}", {"INCUS_SOCKET": str(self.incus.socket)}

    async def write(self, files: Mapping[PurePosixPath, GuestFile]) -> None:
        """Write files at absolute paths; missing directories are made, root's and 0755.

        Raises:
            MachineError: one cannot be written.
        """
        parents = sorted({str(path.parent) for path in files})
        await self.run("mkdir", "--parents", "--", *parents)
        members = ((str(path).lstrip("/"), file) for path, file in sorted(files.items()))
        await self.unpack(archive.archive(members), PurePosixPath("/"), timeout_s=_START_S)

    async def unpack(self, packed: bytes, into: PurePosixPath, *, timeout_s: float) -> None:
        """Unpack a tar archive into an existing directory; owners and modes are the archive's."""
        options = ("--preserve-permissions", "--same-owner", "--numeric-owner", "--touch")
        argv = ("tar", "--extract", *options, "--directory", str(into))
        await self.run(*argv, stdin=packed, timeout_s=timeout_s)

    async def read(self, path: PurePosixPath, *, max_bytes: int = 1024 * 1024) -> bytes:
        """Read a regular file."""
        return await self.incus.pull(self.name, path, max_bytes=max_bytes)

    async def boot_id(self) -> str:
        """Read the kernel's id of this boot."""
        done = await self.run("cat", "/proc/sys/kernel/random/boot_id")
        return done.decode().strip()

    async def reboot(self, *, timeout_s: float, allow_degraded: bool = False) -> SystemState:
        """Reboot cleanly and wait until it runs again.

        Raises:
            MachineError: it did not boot anew, or did not come up; see `wait_running`.
        """
        before = await self.boot_id()
        await self.incus.change_state(self.name, "restart", timeout_s=timeout_s)
        state = await self.wait_running(timeout_s=timeout_s, allow_degraded=allow_degraded)
        if await self.boot_id() == before:
            raise MachineError("it did not boot anew", where=self.name)
        return state

    async def usage(self) -> Usage:
        """Ask Incus what the machine uses now."""
        return await self.incus.usage(self.name)

    async def destroy(self) -> None:
        """Stop it at once and remove it; one that is gone already is no error.

        It may be busy with what a run began and did not wait for, such as a restart: then this
        waits for that.

        Raises:
            IncusError: it could not be removed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DESTROY_S
        while (instance := await self.incus.instance(self.name)) is not None:
            try:
                if instance.status not in ("Stopped", "Error"):
                    await self.incus.change_state(self.name, "stop", timeout_s=_STOP_S, force=True)
                await self.incus.delete(self.name, timeout_s=_STOP_S * 2)
            except IncusError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)
            else:
                return


def _refuse_network(made: Instance | None, name: str) -> None:
    if made is None or made.network_devices:
        raise InternalError("the guest has a network device", where=name)
