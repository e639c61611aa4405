"""Network namespace with only loopback, and the proof that no traffic leaves it.

A mount namespace comes with it where the kernel gives one; in it files can be hidden from all that
is started.

Sources: unshare(2), network_namespaces(7), mount_namespaces(7), user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

# Documentation prefixes (RFC 5737, RFC 3849): an attempt reaches no host even if it gets out.
_DESTINATIONS = (
    (socket.AF_INET, socket.SOCK_STREAM, "192.0.2.1", 443),
    (socket.AF_INET, socket.SOCK_DGRAM, "198.51.100.53", 53),
    (socket.AF_INET6, socket.SOCK_STREAM, "2001:db8::1", 443),
)


def _shown(kind: socket.SocketKind, host: str, port: int) -> str:
    transport = "tcp" if kind == socket.SOCK_STREAM else "udp"
    return f"{transport}://[{host}]:{port}" if ":" in host else f"{transport}://{host}:{port}"


# What every look at a quarantine tries to reach, as its attempts name it.
DESTINATIONS = tuple(_shown(kind, host, port) for _, kind, host, port in _DESTINATIONS)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Network isolation of this process; `reason` says why it has no namespace."""

    mode: str  # "network-namespace" or "none"
    reason: str | None = None
    own_mounts: bool = False  # what is mounted here is seen here alone


@dataclass(frozen=True, slots=True)
class Attempt:
    """One outbound attempt and how it ended."""

    destination: str
    outcome: str  # "unreachable", "refused", "timed-out" or "connected"
    error: str | None


def enter() -> Quarantine:
    """Move this process, and all it will start, into a fresh network namespace with loopback up.

    Works as root, and as another user where the kernel allows user namespaces. Must be called
    while the process has one thread.
    """
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNET if user == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        return Quarantine("none", f"unshare: {os.strerror(number)}")
    try:
        if user != 0:
            _map_self(user, group)
        _loopback_up()
    except OSError as error:
        # The namespace exists but loopback does not work in it: nothing could run here.
        return Quarantine("none", f"loopback in the new namespace: {error.strerror}")
    return Quarantine("network-namespace", own_mounts=_own_mounts(libc))


def _own_mounts(libc: ctypes.CDLL) -> bool:
    """Enter a mount namespace whose mounts reach no other; return whether that worked.

    It does not where the root directory is no mount, as in a chroot.
    """
    if libc.unshare(_CLONE_NEWNS) != 0:
        return False
    return bool(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None) == 0)


def hide(paths: Iterable[Path], place: Path) -> None:
    """Hide files from this process and all that it starts; only after `enter` with `own_mounts`.

    A socket is mounted over each of them, which nobody can open as a file. `place` is a path for it
    that does not exist.

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    os.mknod(place, stat.S_IFSOCK)
    for path in paths:
        target = os.fsencode(path.resolve())
        if libc.mount(os.fsencode(place), target, None, ctypes.c_ulong(_MS_BIND), None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))


def _map_self(user: int, group: int) -> None:
    me = Path("/proc/self")
    (me / "setgroups").write_text("deny")
    (me / "uid_map").write_text(f"{user} {user} 1")
    (me / "gid_map").write_text(f"{group} {group} 1")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def interfaces() -> list[str]:
    """List the network interfaces that this process sees."""
    return sorted(name for _, name in socket.if_nameindex())


def attempt_outbound(timeout_s: float = 2.0) -> list[Attempt]:
    """Try to reach the outside; in a namespace with only loopback the kernel refuses at once."""
    return [_attempt(*destination, timeout_s) for destination in _DESTINATIONS]


def _attempt(
    family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int, timeout_s: float
) -> Attempt:
    shown = _shown(kind, host, port)
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(timeout_s)
            sock.connect((host, port))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"\0")
    except TimeoutError:
        return Attempt(shown, "timed-out", f"no answer within {timeout_s:g} s")
    except OSError as error:
        refused = error.errno == errno.ECONNREFUSED
        outcome = "refused" if refused else "unreachable"
        return Attempt(shown, outcome, error.strerror or str(error))
    return Attempt(shown, "connected", None)
