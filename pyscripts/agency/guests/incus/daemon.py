"""Access to an Incus: the host's own where it answers, else one that we start.

Ours keeps everything below its own directory and touches nothing of the host's. Everyone who uses
it holds a shared lock; who leaves last, and leaves no guest behind, stops it. The directory is
/var/lib/agency-incus, or what AGENCY_INCUS_DIR names: containers run as users that must be able to
pass through all of its parents, so it cannot be in a home.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.guests.incus.client import Incus
from agency.guests.incus.errors import INCUS_INSTALL_HINT, IncusError, IncusUnreachableError
from agency.guests.incus.transport import MAX_SOCKET_PATH
from agency.locks import locked, try_lock
from agency.unix_sockets import peer_of

POOL = "agency"

DIRECTORY_VARIABLE = "AGENCY_INCUS_DIR"

_HOST_DIRECTORY = Path("/var/lib/incus")
_OWN_DIRECTORY = Path("/var/lib/agency-incus")
_PROGRAMS = (Path("/usr/libexec/incus/incusd"), Path("/usr/lib/incus/incusd"))
_CONNECT_S = 2.0
_START_S = 30.0
_STOP_S = 20.0
_POLL_S = 0.05
_LOG_LINES = 5
# Incus looks for news on the web when it starts. Nothing may leave: a proxy that refuses.
_NO_WAY_OUT = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class OwnDaemon:
    """Directory of an Incus of ours, and the files in it."""

    directory: Path

    @property
    def socket(self) -> Path:
        """The socket it answers on."""
        return self.directory / "incus" / "unix.socket"

    @property
    def users(self) -> Path:
        """The lock that everyone holds who uses it."""
        return self.directory / "users.lock"

    @property
    def log(self) -> Path:
        """Log of what it says."""
        return self.directory / "incusd.log"


def answers(path: Path) -> bool:
    """Return whether a process accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def host_socket(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Find the socket of the Incus that this host runs, if it answers and lets us in."""
    directory = Path(environ.get("INCUS_DIR") or _HOST_DIRECTORY)
    path = Path(environ.get("INCUS_SOCKET") or directory / "unix.socket")
    return path if answers(path) else None


@contextlib.asynccontextmanager
async def connect_incus(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Incus]:
    """Yield an Incus to talk to: the host's, or ours, started where needed.

    Raises:
        IncusUnreachableError: none answers, and none can be started here.
    """
    found = host_socket(environ)
    if found is not None:
        async with Incus(found) as client:
            yield client
        return
    daemon = own_daemon(environ)
    program = _program_or_refuse(daemon)
    _make(daemon.directory)
    try:
        async with locked(daemon.users, shared=True):
            async with locked(daemon.directory / "start.lock"):
                if not answers(daemon.socket):
                    await _start(daemon, program)
            async with Incus(daemon.socket) as client:
                await _prepare(client)
                yield client
    finally:
        await stop_if_unused(daemon)


async def stop_if_unused(daemon: OwnDaemon) -> bool:
    """Stop our daemon unless somebody uses it or it holds a guest; whether it is stopped now."""
    descriptor = try_lock(daemon.users)
    if descriptor is None:
        return False
    try:
        if answers(daemon.socket):
            async with Incus(daemon.socket) as client:
                if await client.instances():
                    return False
        await _stop(daemon)
    finally:
        os.close(descriptor)
    return not answers(daemon.socket)


def is_running(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether our own Incus runs."""
    return answers(own_daemon(environ).socket)


def own_daemon(environ: Mapping[str, str] = os.environ) -> OwnDaemon:
    """Name the place of our own Incus; it need not exist."""
    return OwnDaemon(Path(environ.get(DIRECTORY_VARIABLE) or _OWN_DIRECTORY))


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)
        closed = [p for p in directory.resolve().parents if not p.stat().st_mode & stat.S_IXOTH]
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be made: {error.strerror}",
            where=str(directory),
            hint=f"set {DIRECTORY_VARIABLE} to a directory that you may write",
        ) from error
    if closed:
        raise PrerequisiteError(
            "the users of a container cannot pass through this directory",
            where=str(closed[0]),
            hint=f"set {DIRECTORY_VARIABLE} to a directory whose parents all may be entered",
        )


def find_daemon() -> Path:
    """Find the program of the daemon.

    Raises:
        IncusUnreachableError: it is not installed.
    """
    candidates = [*_PROGRAMS, Path(shutil.which("incusd") or "/nonexistent")]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise IncusUnreachableError(
            "Incus is not installed", where="incusd", hint=INCUS_INSTALL_HINT
        )
    return found


def _program_or_refuse(daemon: OwnDaemon) -> Path:
    found = find_daemon()
    if os.geteuid() != 0:
        raise IncusUnreachableError(
            "no Incus answers, and only root can start one",
            where=str(_HOST_DIRECTORY / "unix.socket"),
            hint="start the host's Incus and join its group, or run this as root",
        )
    if len(str(daemon.socket)) > MAX_SOCKET_PATH:
        raise IncusUnreachableError(
            f"the path of the socket is longer than {MAX_SOCKET_PATH} bytes",
            where=str(daemon.socket),
            hint=f"set {DIRECTORY_VARIABLE} to a shorter path",
        )
    return found


async def _start(daemon: OwnDaemon, program: Path) -> None:
    home = daemon.socket.parent
    home.mkdir(mode=0o711, exist_ok=True)
    daemon.socket.unlink(missing_ok=True)
    argv = [str(program)]
    with contextlib.suppress(KeyError):
        argv += ["--group", grp.getgrnam("incus-admin").gr_name]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(daemon.directory),
        "LANG": "C.UTF-8",
        "INCUS_DIR": str(home),
        "http_proxy": _NO_WAY_OUT,
        "https_proxy": _NO_WAY_OUT,
    }
    with daemon.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - forks and execs in a few milliseconds
            argv,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # guests that are kept need it after we have gone
        )
    deadline = asyncio.get_running_loop().time() + _START_S
    async with Incus(daemon.socket) as client:
        while not await client.ready():
            if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
                process.kill()
                process.wait()
                raise IncusUnreachableError(
                    f"Incus does not start: {_last_words(daemon.log)}",
                    where=str(program),
                    hint=f"read {daemon.log}; another Incus or missing rights may stand in its way",
                )
            await asyncio.sleep(_POLL_S)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return " | ".join(lines) or "it said nothing"


async def _prepare(client: Incus) -> None:
    """Make what a fresh Incus lacks; an Incus of the host is used as it is."""
    if POOL not in await client.pools():
        await client.configure({"images.auto_update_interval": "0"})
        try:
            await client.create_pool(POOL, "dir")
        except IncusError:
            # Two that begin at once find the same Incus, and one of them is first.
            if POOL not in await client.pools():
                raise


async def _stop(daemon: OwnDaemon) -> None:
    """Stop the process that listens on the daemon's socket, unix(7); none is no error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_CONNECT_S)
        try:
            asking.connect(str(daemon.socket))
            pidfd = os.pidfd_open(peer_of(asking).pid)
        except OSError:
            return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(pidfd, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _STOP_S)
                break
    except ProcessLookupError:
        pass
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
