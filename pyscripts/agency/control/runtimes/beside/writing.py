"""Files of the programs beside an agent: their places, and what their configurations say.

    agents/NAME/gateway/   gateway.json  credentials/  state/  mcp.sock  control.sock  log
    agents/NAME/rooms/     chat.json     credentials/  state/  log  work.json

`work.json` is for the agent's task loop, which uses the credentials of its rooms.

The programs run in `agents/NAME/`, and name sockets from there: the path of a Unix socket has at
most 107 bytes. The policy that the gateway was given is the one that the others read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from agency import naming
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.protocols import GATEWAY_TOKEN, WORK_CONFIG

GATEWAY, ROOMS = Path("gateway"), Path("rooms")
POLICY = "policy.json"
MODEL_TOKEN, MATRIX_TOKEN = "model-token", "matrix-token"
CONTROL_SOCKET = GATEWAY / "control.sock"
_PROGRAM_SOCKET = GATEWAY / "mcp.sock"


@dataclass(frozen=True, slots=True)
class Room:
    """Directory of one program."""

    path: Path
    config_name: str

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.path / self.config_name

    @property
    def work(self) -> Path:
        """Configuration of its builtin program for a task of the agent's list."""
        return self.path / WORK_CONFIG

    @property
    def credentials(self) -> Path:
        """Directory of its credentials."""
        return self.path / "credentials"

    @property
    def state(self) -> Path:
        """Directory that outlives its runs."""
        return self.path / "state"

    @property
    def log(self) -> Path:
        """Its log."""
        return self.path / "log"


@dataclass(frozen=True, slots=True)
class Places:
    """Places below an agent's directory."""

    directory: Path

    @property
    def gateway(self) -> Room:
        """Those of the gateway."""
        return Room(self.directory / GATEWAY, "gateway.json")

    @property
    def rooms(self) -> Room:
        """Those of the program in rooms."""
        return Room(self.directory / ROOMS, "chat.json")

    @property
    def policy(self) -> Path:
        """The Gosuto that the gateway holds."""
        return self.gateway.state / POLICY


def policy_file(state_dir: Path, agent: str) -> Path:
    """Return the path of the Gosuto that an agent's gateway holds, below the state directory."""
    return Places(state_dir / "agents" / agent).policy


def token_digest(tokens: Path, agent: str) -> Path:
    """Return the path of the digest of an agent's token for models."""
    return tokens / f"{agent}.sha256"


def gateway_config(
    agent: str,
    socket: PurePath,
    control_socket: PurePath,
    state: PurePath,
    audit: PurePath | None,
    hidden: tuple[PurePath, ...] = (),
) -> dict[str, object]:
    """Write the configuration of a tool gateway, wherever it runs. Pure.

    `hidden` is what its user may read there, and its tool servers must not.
    """
    return {
        "agent": agent,
        "socket": str(socket),
        "control_socket": str(control_socket),
        "state_dir": str(state),
        "audit_socket": _text(audit),
        "hidden": [str(each) for each in hidden],
    }


@dataclass(frozen=True, slots=True)
class RoomsPlaces:
    """Places that an account in rooms is told, wherever it runs; `socket` is the gateway's."""

    homeserver: str
    models: str
    gosuto: PurePath
    state: PurePath
    socket: PurePath
    audit: PurePath | None


def chat_config(
    agent: str, user: str, program: ProgramSettings, places: RoomsPlaces
) -> dict[str, object]:
    """Write the configuration of an account in rooms, wherever it runs. Pure."""
    return {
        "agent": agent,
        "user": user,
        "homeserver": places.homeserver,
        "credential": MATRIX_TOKEN,
        "gosuto": str(places.gosuto),
        "state": str(places.state),
        "model": {"url": places.models, "credential": MODEL_TOKEN},
        "gateway": {"socket": str(places.socket)},
        "auditSocket": _text(places.audit),
        "defaultModel": program.model,
    }


def work_config(program: ProgramSettings, places: RoomsPlaces) -> dict[str, object] | None:
    """Write how the builtin program does a task of the agent's list; None for others. Pure."""
    if program.kind != "builtin":
        return None
    return {
        "gosuto": str(places.gosuto),
        "model": {"url": places.models, "credential": MODEL_TOKEN},
        "gateway": {"socket": str(places.socket)},
        "auditSocket": _text(places.audit),
        "defaultModel": program.model,
    }


def gateway_document(places: Places, agent: str, models: ModelSettings) -> dict[str, object]:
    """Write the configuration of an agent's tool gateway."""
    sockets = (places.directory / _PROGRAM_SOCKET, places.directory / CONTROL_SOCKET)
    # The control plane's user is the agent's: its state has the tokens of all its agents.
    hidden = (places.directory.parent.parent, *own_credentials())
    return gateway_config(agent, *sockets, places.gateway.state, models.audit_socket, hidden)


def own_credentials() -> tuple[Path, ...]:
    """Name the directory of the control plane's own credentials, if it has one."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return (Path(directory),) if directory else ()


def chat_document(
    places: Places,
    agent: str,
    user: str,
    homeserver: str,
    models: ModelSettings,
    program: ProgramSettings,
) -> dict[str, object]:
    """Write the configuration of an agent's account in rooms. Pure."""
    told = replace(_rooms_of(places, homeserver, models), socket=_PROGRAM_SOCKET)
    return chat_config(agent, user, program, told) | {"command": _command(places, program)}


def work_document(
    places: Places, models: ModelSettings, program: ProgramSettings
) -> dict[str, object] | None:
    """Write how an agent's program does a task of its list. Pure."""
    if program.kind == "command":
        return {"chat": str(places.rooms.config), "directory": str(places.directory)}
    return work_config(program, _rooms_of(places, "", models))


def _rooms_of(places: Places, homeserver: str, models: ModelSettings) -> RoomsPlaces:
    return RoomsPlaces(
        homeserver.rstrip("/"),
        models.url,
        places.policy,
        places.rooms.state,
        places.directory / _PROGRAM_SOCKET,
        models.audit_socket,
    )


def _command(places: Places, program: ProgramSettings) -> dict[str, object] | None:
    if program.kind != "command":
        return None
    return {
        "agent": program.agent,
        "program": [str(part) for part in program.run],
        "ownTools": program.own_tools,
        "workspace": str(places.directory / "workspace"),
        "state": str(places.rooms.state / "own"),
    }


@dataclass(frozen=True, slots=True)
class ApartPlaces:
    """Places of a command-line agent that is kept apart, as it sees them itself."""

    listen: PurePath
    credentials: PurePath
    state: PurePath


def apart_config(
    program: ProgramSettings, places: ApartPlaces, caller: str | None = None
) -> dict[str, object] | None:
    """Write the configuration of the host of a command-line agent; None for others. Pure."""
    if program.kind != "command":
        return None
    return {
        "agent": program.agent,
        "program": [str(part) for part in program.run],
        "modelToken": str(places.credentials / MODEL_TOKEN),
        "gatewayToken": str(places.credentials / GATEWAY_TOKEN),
        "ownTools": program.own_tools,
        "workspace": str(places.state / "workspace"),
        "state": str(places.state / "own"),
        "listen": str(places.listen),
        "caller": caller,
    }


def apart_command(program: ProgramSettings, listen: PurePath) -> dict[str, object] | None:
    """Tell an account in rooms where its command-line agent is; None for others. Pure."""
    if program.kind != "command":
        return None
    return {"agent": program.agent, "socket": str(listen)}


@dataclass(frozen=True, slots=True)
class UnitPlaces:
    """Places of an agent's programs that are units of systemd, as modules/agents has them."""

    agent: str

    @property
    def control_socket(self) -> Path:
        """Control socket of the gateway."""
        return self._sockets / "control.sock"

    @property
    def program_socket(self) -> Path:
        """Socket at which the gateway serves the program."""
        return self._sockets / "mcp.sock"

    @property
    def gateway_state(self) -> Path:
        """State of the gateway."""
        return Path("/var/lib/agency-gateway") / self.agent

    @property
    def apart(self) -> ApartPlaces:
        """Places of its command-line agent."""
        return ApartPlaces(
            Path("/run/agency-command") / self.agent / "tasks.sock",
            Path(f"/run/credentials/agency-agent-command@{self.agent}.service"),
            Path("/var/lib/agency-command") / self.agent,
        )

    @property
    def rooms_state(self) -> Path:
        """State of the account in rooms."""
        return Path("/var/lib/agency-rooms") / self.agent

    @property
    def _sockets(self) -> Path:
        return Path("/run/agency-gateway") / self.agent


def unit_gateway_document(places: UnitPlaces, models: ModelSettings) -> dict[str, object]:
    """Write the configuration of a tool gateway that is a unit. Pure."""
    sockets = (places.program_socket, places.control_socket)
    # Credentials of the agent's other units, and what it was told in rooms, are its user's, too.
    hidden = (Path("/run/credentials"), places.rooms_state)
    audit = models.audit_socket
    return gateway_config(places.agent, *sockets, places.gateway_state, audit, hidden)


def unit_chat_document(
    places: UnitPlaces,
    user: str,
    homeserver: str,
    models: ModelSettings,
    program: ProgramSettings,
) -> dict[str, object]:
    """Write the configuration of an account in rooms that is a unit. Pure."""
    told = _rooms_of_unit(places, homeserver, models)
    command = apart_command(program, places.apart.listen)
    return chat_config(places.agent, user, program, told) | {"waits": True, "command": command}


def unit_apart_document(places: UnitPlaces, program: ProgramSettings) -> dict[str, object] | None:
    """Write the configuration of a command-line agent that is a unit; None for others. Pure."""
    return apart_config(program, places.apart, caller=naming.AGENT_PREFIX + places.agent)


def unit_work_document(
    places: UnitPlaces, models: ModelSettings, program: ProgramSettings
) -> dict[str, object] | None:
    """Write how the builtin program of an agent with units does a task; None for others. Pure."""
    return work_config(program, _rooms_of_unit(places, "", models))


def _rooms_of_unit(places: UnitPlaces, homeserver: str, models: ModelSettings) -> RoomsPlaces:
    return RoomsPlaces(
        homeserver.rstrip("/"),
        models.url,
        places.gateway_state / "policy.json",
        places.rooms_state,
        places.program_socket,
        models.audit_socket,
    )


def _text(path: PurePath | None) -> str | None:
    return None if path is None else str(path)
