"""Configuration and token that a runtime hands to an agent at start; check of agents' names."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agency import naming
from agency.canonical import canonical_json
from agency.control.runtimes.base import AgentRuntimeError, StartRequest
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.protocols import REDEEM_SOCKET, AgentConfig
from agency.secrets import SecretValue

HOST = "127.0.0.1"
# Where systemd shows an agent's unit the directory of its socket.
SHOWN_REDEEM_SOCKET = Path("/run/agency-redeem") / REDEEM_SOCKET
CHECK_PLACE = "check the permissions and the free space of that directory"


def redeem_socket(state_dir: Path, agent: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the socket at which an agent redeems its secrets.

    It is in a directory of its own below that of the service, or below the state directory.
    """
    directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(directory or state_dir) / "redeem" / checked_name(agent) / REDEEM_SOCKET


def open_redeem_place(path: Path) -> None:
    """Make the directory of an agent's socket, before systemd shows it to the agent's unit.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    make_private(path.parent)
    try:
        path.mkdir(exist_ok=True)
        path.chmod(0o755)  # nobody else passes the one above
    except OSError as error:
        raise cannot_write(path, error) from error


def checked_name(name: str) -> str:
    """Check a name before it becomes part of a path or of a unit's name; return it.

    Raises:
        AgentRuntimeError: it is not a valid agent's name.
    """
    if not naming.is_agent_name(name):
        raise AgentRuntimeError(
            "not a valid agent's name",
            where=repr(name[:40]),
            hint=naming.AGENT_NAME_HINT,
        )
    return name


def agent_config(
    request: StartRequest, port: int, redeem: Path | None = None, gateway: Path | None = None
) -> bytes:
    """Make the configuration file of an agent that serves ACP on a port of this machine.

    Raises:
        AgentRuntimeError: the request or the port is invalid, such as port 0.
    """
    try:
        config = AgentConfig(
            name=request.agent or request.name,
            role=request.role,
            host=HOST,
            port=port,
            project=request.project,
            trace=request.trace,
            redeem_socket=None if redeem is None else str(redeem),
            gateway_socket=None if gateway is None else str(gateway),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise AgentRuntimeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=request.name
        ) from error
    return canonical_json(config.model_dump()) + b"\n"


@dataclass(frozen=True, slots=True)
class Handed:
    """Paths of an agent's configuration and token; only their owner may read the files.

    With `for_others` everybody may who reaches them: the directory above theirs is closed then, and
    a container that runs as another user mounts theirs.
    """

    config: Path
    token: Path
    redeem: Path | None = None  # the socket at which it redeems its secrets, as the agent sees it
    for_others: bool = False
    gateway: Path | None = None  # the control socket of its tool gateway, as the agent sees it

    @contextlib.contextmanager
    def offered(self, request: StartRequest, port: int, token: str) -> Iterator[None]:
        """Write both files for a start; if the start fails, remove the token.

        Raises:
            AgentRuntimeError: the request or the port is invalid.
            PrerequisiteError: a file cannot be written.
        """
        config = agent_config(request, port, self.redeem, self.gateway)
        try:
            mode = 0o444 if self.for_others else 0o600
            for directory in dict.fromkeys((self.config.parent, self.token.parent)):
                make_directory(directory, 0o755 if self.for_others else 0o700)
            write_atomically(self.config, config, mode=mode)
            write_atomically(self.token, token.encode(), mode=mode)
            yield
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        """Remove the token."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.token.unlink()

    def secret(self) -> SecretValue | None:
        """Return the token, or None if it was removed."""
        try:
            return SecretValue(self.token.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None


def make_private(directory: Path) -> None:
    """Make a directory that only its owner can use.

    Raises:
        PrerequisiteError: the directory cannot be made.
    """
    make_directory(directory, 0o700)


def make_directory(directory: Path, mode: int) -> None:
    """Make a directory with a mode, whatever mode it had.

    Raises:
        PrerequisiteError: the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(mode)
    except OSError as error:
        raise cannot_write(directory, error) from error


def remove_tree(directory: Path) -> None:
    """Remove a directory and what is in it; one that is not there is removed already.

    Raises:
        PrerequisiteError: it cannot be removed.
    """
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(directory, error) from error


def cannot_write(path: Path, error: OSError) -> PrerequisiteError:
    """Make the error for a path that cannot be written."""
    return PrerequisiteError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint=CHECK_PLACE,
    )
