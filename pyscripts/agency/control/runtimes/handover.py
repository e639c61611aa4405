"""What every runtime hands an agent at start, and the names it accepts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agency import naming
from agency.canonical import canonical_json
from agency.control.runtimes.base import AgentRuntimeError, StartRequest
from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.protocols.acp import AgentConfig
from agency.secrets.values import SecretValue

HOST = "127.0.0.1"
CHECK_PLACE = "check the permissions and the free space of that directory"


def checked_name(name: str) -> str:
    """The name, before it becomes part of a path or of a unit's name.

    Raises:
        AgentRuntimeError: it is not the name of an agent.
    """
    if not naming.is_agent_name(name):
        raise AgentRuntimeError(
            "not the name of an agent",
            where=repr(name[:40]),
            hint=naming.AGENT_NAME_HINT,
        )
    return name


def agent_config(request: StartRequest, port: int) -> bytes:
    """Make the configuration file of an agent that serves ACP on a port of this machine.

    Raises:
        AgentRuntimeError: the request or the port is none that an agent can have, such as port 0.
    """
    try:
        config = AgentConfig(
            name=request.name,
            role=request.role,
            host=HOST,
            port=port,
            project=request.project,
            trace=request.trace,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise AgentRuntimeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=request.name
        ) from error
    return canonical_json(config.model_dump()) + b"\n"


@dataclass(frozen=True, slots=True)
class Handed:
    """Where an agent finds its configuration and its token; only their owner may read them."""

    config: Path
    token: Path

    @contextlib.contextmanager
    def offered(self, request: StartRequest, port: int, token: str) -> Iterator[None]:
        """Put both there for a start; if that fails, the token is taken back.

        Raises:
            AgentRuntimeError: the request or the port is none that an agent can have.
            PrerequisiteError: the place cannot be written.
        """
        config = agent_config(request, port)
        try:
            for directory in dict.fromkeys((self.config.parent, self.token.parent)):
                make_private(directory)
            write_atomically(self.config, config, mode=0o600)
            write_atomically(self.token, token.encode(), mode=0o600)
            yield
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        """Take the token back."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.token.unlink()

    def secret(self) -> SecretValue | None:
        """The token, while it is there."""
        try:
            return SecretValue(self.token.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None


def make_private(directory: Path) -> None:
    """Make a directory that is its owner's alone.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
    except OSError as error:
        raise cannot_write(directory, error) from error


def cannot_write(path: Path, error: OSError) -> PrerequisiteError:
    """What to say of a place that cannot be written."""
    return PrerequisiteError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint=CHECK_PLACE,
    )
