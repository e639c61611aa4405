"""Unix sockets: listening with the right mode from the start, and who is on the other side."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError

_MAX_PATH = 107  # bytes of a socket's path, unix(7)
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """Process on the other side when the connection was made, and its user."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Read the peer of a Unix connection from the kernel (SO_PEERCRED)."""
    given = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(given)
    return Peer(pid, uid)


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name of a socket's path that unix(7) takes, however long the path is."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen_at(path: Path, *, hint: str, mode: int = 0o600, backlog: int = 16) -> socket.socket:
    """Listen at a path, in place of the socket of a program that was killed.

    Raises:
        PrerequisiteError: the place cannot be used, or another kind of file is there; `hint` is
            the remedy.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            _forget(Path(name))
            before = os.umask(0o777)  # nobody connects before the mode is the right one
            try:
                made.bind(name)
            finally:
                os.umask(before)
            Path(name).chmod(mode)
            made.listen(backlog)
    except OSError as error:
        made.close()
        raise PrerequisiteError(
            f"cannot listen: {error.strerror or error}", where=str(path), hint=hint
        ) from error
    made.setblocking(False)
    return made


def _forget(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)
