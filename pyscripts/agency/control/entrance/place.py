"""Places of the command socket: where a control plane makes it, and where commands look for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency import naming
from agency.paths import state_dir
from agency.protocols import COMMAND_SOCKET
from agency.unix_sockets import listen_at

_RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"  # set by systemd


@dataclass(frozen=True, slots=True)
class Place:
    """Path of a control plane's socket, and the users who may command there."""

    path: Path
    admitted: frozenset[int]


def place_of(state: Path, environ: Mapping[str, str] = os.environ) -> Place:
    """Choose the place: a service's runtime directory, for root; else its state directory.

    What runs as the service's own user is no administrator; whoever runs a local agency is.
    """
    directory = environ.get(_RUNTIME_DIRECTORY, "").partition(":")[0]
    if directory:
        return Place(Path(directory) / COMMAND_SOCKET, frozenset({0}))
    return Place(state / COMMAND_SOCKET, frozenset({0, os.geteuid()}))


def host_socket() -> Path:
    """Return the path of the socket on a host of an instance."""
    return Path("/run") / naming.CONTROL_USER / COMMAND_SOCKET


def local_socket() -> Path:
    """Return the path that names the socket of this user's local agency while it runs."""
    return state_dir() / "local" / COMMAND_SOCKET


def listen(path: Path) -> socket.socket:
    """Listen on a socket of mode 0600; call it as the only holder of the state directory.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    return listen_at(path, hint="remove what is there, and check who owns the directory")
