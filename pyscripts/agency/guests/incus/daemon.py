"""Having an Incus to talk to: the host's own where it answers, else one that we start.

Ours keeps everything below its own directory and touches nothing of the host's. Everyone who uses
it holds a shared lock; who leaves last, and leaves no guest behind, stops it. The directory is
/var/lib/agency-incus, or what AGENCY_INCUS_DIR names: containers run as users that must be able to
pass through all of its parents, so it cannot be in a home.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.guests.incus.client import Incus
from agency.guests.incus.errors import INCUS_INSTALL_HINT, IncusUnreachableError
from agency.guests.incus.transport import MAX_SOCKET_PATH
from agency.locks import locked, try_lock

POOL = "agency"

DIRECTORY_VARIABLE = "AGENCY_INCUS_DIR"

_HOST_DIRECTORY = Path("/var/lib/incus")
_OWN_DIRECTORY = Path("/var/lib/agency-incus")
_PROGRAMS = (Path("/usr/libexec/incus/incusd"), Path("/usr/lib/incus/incusd"))
_CONNECT_S = 2.0
_UCRED = struct.Struct("3i")  # pid, uid, gid
_START_S = 30.0
_STOP_S = 20.0
_POLL_S = 0.05
_LOG_LINES = 5
_GROUP = "incus-admin"
# Incus looks for news on the web when it starts. Nothing may leave: a proxy that refuses.
_NO_WAY_OUT = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class OwnDaemon:
    """Where an Incus of ours keeps itself."""

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
        """What it says."""
        return self.directory / "incusd.log"


def answers(path: Path) -> bool:
    """Whether something accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def host_socket(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The socket of the Incus that this host runs, if one answers and lets us in."""
    named = environ.get("INCUS_SOCKET")
    directory = Path(environ.get("INCUS_DIR") or _HOST_DIRECTORY)
    for candidate in [Path(named)] if named else [directory / "unix.socket"]:
        if answers(candidate):
            return candidate
    return None


@contextlib.asynccontextmanager
async def connect_incus(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Incus]:
    """An Incus to talk to: the host's, or ours, started where needed.

    Raises:
        IncusUnreachableError: none answers, and none can be started here.
    """
    found = host_socket(environ)
    if found is not None:
        async with Incus(found) as client:
            yield client
        return
    daemon = own_daemon(environ)
    _program_or_refuse(daemon)
    _make(daemon.directory)
    try:
        async with locked(daemon.users, shared=True):
            await _ensure_running(daemon)
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
        if await _holds_guests(daemon):
            return False
        await _stop(daemon)
    finally:
        os.close(descriptor)
    return not answers(daemon.socket)


async def _holds_guests(daemon: OwnDaemon) -> bool:
    if not answers(daemon.socket):
        return False
    async with Incus(daemon.socket) as client:
        return bool(await client.instances())


def is_running(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether our own Incus runs."""
    return answers(own_daemon(environ).socket)


def own_daemon(environ: Mapping[str, str] = os.environ) -> OwnDaemon:
    """Where our own Incus is kept; it need not exist."""
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


async def _ensure_running(daemon: OwnDaemon) -> None:
    async with locked(daemon.directory / "start.lock"):
        if not answers(daemon.socket):
            await _start(daemon, _program_or_refuse(daemon))


def find_daemon() -> Path:
    """The program of the daemon.

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
    if _group_exists(_GROUP):
        argv += ["--group", _GROUP]
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
    while not await _is_ready(daemon.socket):
        if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
            process.kill()
            process.wait()
            raise IncusUnreachableError(
                f"Incus does not start: {_last_words(daemon.log)}",
                where=str(program),
                hint=f"read {daemon.log}; another Incus or missing rights may stand in its way",
            )
        await asyncio.sleep(_POLL_S)


async def _is_ready(path: Path) -> bool:
    if not answers(path):
        return False
    async with Incus(path) as client:
        return await client.ready()


def _group_exists(name: str) -> bool:
    import grp

    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return " | ".join(lines) or "it said nothing"


async def _prepare(client: Incus) -> None:
    """Make what a fresh Incus lacks; an Incus of the host is used as it is."""
    if POOL not in await client.pools():
        await client.configure({"images.auto_update_interval": "0"})
        await client.create_pool(POOL, "dir")


async def _stop(daemon: OwnDaemon) -> None:
    """Stop the process that listens on the daemon's socket; none is no error."""
    found = _listening(daemon.socket)
    if found is None:
        return
    descriptor, pid = found
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(descriptor, number)
            if await _ends(descriptor, _STOP_S):
                break
        _collect(pid)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _listening(path: Path) -> tuple[int, int] | None:
    """Descriptor and pid of the process that listens on a socket, unix(7)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.settimeout(_CONNECT_S)
            asking.connect(str(path))
            said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            pid = int(_UCRED.unpack(said)[0])
            return os.pidfd_open(pid), pid
        except OSError:
            return None


def _collect(pid: int) -> None:
    """Take the exit status of a child of this process; another run's child is not ours to take."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


async def _ends(pidfd: int, seconds: float) -> bool:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True
