"""Containers of an agent's programs: what each runs and sees, and their configurations. Pure.

    ACP (runtime.py)     secrets, leases               control socket ─┐
    gateway              MCP servers, forge tokens     control, front ─┴─ volumes in memory
    rooms                program, account, model token front, doors (door.py), tasks ─┐
    command              command-line agent, if any    tasks ─────────────────────────┴─ volume

One user, three containers: what a model steers (rooms) sees neither the secrets of tools nor the
way to decide on its own calls, and what a tool server runs (gateway) sees neither the account nor
the way to models. A command-line agent, whose shell is its own, has a fourth: it sees its program,
two tokens and its state; it reaches gateway and proxy by the account, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.control.runtimes.beside.writing import (
    MODEL_TOKEN,
    POLICY,
    ApartPlaces,
    RoomsPlaces,
    apart_command,
    apart_config,
    chat_config,
    gateway_config,
)
from agency.control.runtimes.docker.container import HANDED, STATE, Identity, Inside, show
from agency.protocols import SOCKET

ALL = GATEWAY, COMMAND, ROOMS = "gateway", "command", "rooms"
GATEWAY_FILE, ROOMS_FILE, COMMAND_FILE = "gateway.json", "chat.json", "host.json"
HOMESERVER_DOOR, MODELS_DOOR = "homeserver.sock", "models.sock"
# In the containers: volumes with sockets of the gateway, and the Gosuto.
_FRONT, _CONTROL = PurePosixPath("/run/agency-front"), PurePosixPath("/run/agency-control")
_POLICY, _TASKS = PurePosixPath("/run/agency-policy"), PurePosixPath("/run/agency-tasks")
_TASKS_SOCKET = _TASKS / "tasks.sock"
FRONT_SOCKET, CONTROL_SOCKET = _FRONT / "mcp.sock", _CONTROL / "control.sock"


def front_volume(identity: Identity) -> str:
    """Name the volume with the socket at which programs call tools."""
    return f"{identity.container}.front"


def control_volume(identity: Identity) -> str:
    """Name the volume with the socket at which ACP steers the gateway."""
    return f"{identity.container}.control"


def tasks_volume(identity: Identity) -> str:
    """Name the volume with the socket at which a command-line agent gets its tasks."""
    return f"{identity.container}.tasks"


def with_gateway(inside: Inside, identity: Identity, models: ModelSettings, group: int) -> Inside:
    """Add to the container of ACP what it sees of the gateway and the audit log.

    `identity` is the agent's; `group` may use the socket of the log.
    """
    control = _shared(control_volume(identity), _CONTROL, read_only=True)
    return Inside(inside.arguments, (*inside.mounts, control, *_audit(models)), (group,))


def gateway_inside(identity: Identity, handed: Path, models: ModelSettings, group: int) -> Inside:
    """Describe the container of the tool gateway and its servers."""
    return Inside(
        ("gateway", "--json", "--config", str(HANDED / GATEWAY_FILE)),
        (
            show(handed, HANDED),
            _shared(front_volume(identity), _FRONT),
            _shared(control_volume(identity), _CONTROL),
            *_audit(models),
        ),
        (group,),
    )


def rooms_inside(
    identity: Identity, handed: Path, policy: Path, models: ModelSettings, group: int
) -> Inside:
    """Describe the container of the program in rooms; `policy` is the directory of the Gosuto."""
    return Inside(
        ("chat", "--json", "--config", str(HANDED / ROOMS_FILE)),
        (
            show(handed, HANDED),
            show(policy, _POLICY),
            _shared(front_volume(identity), _FRONT, read_only=True),
            *_audit(models),
        ),
        (group,),
    )


def with_tasks(inside: Inside, identity: Identity) -> Inside:
    """Add to the container of the account the socket of its command-line agent."""
    tasks = _shared(tasks_volume(identity), _TASKS, read_only=True)
    return Inside(inside.arguments, (*inside.mounts, tasks), inside.groups)


def command_inside(identity: Identity, handed: Path, program: ProgramSettings) -> Inside:
    """Describe the container of a command-line agent; its program is at the same place inside."""
    places = sorted({part.parent for part in program.run})
    return Inside(
        ("host", "--json", "--config", str(HANDED / COMMAND_FILE)),
        (
            show(handed, HANDED),
            _shared(tasks_volume(identity), _TASKS),
            *(show(each, PurePosixPath(each)) for each in places),
        ),
    )


def command_document(program: ProgramSettings) -> dict[str, object] | None:
    """Write the configuration of the host of a command-line agent; None for others."""
    return apart_config(program, ApartPlaces(_TASKS_SOCKET, HANDED, STATE))


def gateway_document(agent: str, models: ModelSettings) -> dict[str, object]:
    """Write the configuration of the tool gateway."""
    audit = _audit_socket(models)
    return gateway_config(agent, FRONT_SOCKET, CONTROL_SOCKET, STATE / "gateway", audit)


def rooms_document(
    agent: str, user: str, models: ModelSettings, program: ProgramSettings
) -> dict[str, object]:
    """Write the configuration of the program in rooms; both its doors are sockets."""
    told = RoomsPlaces(
        "http://homeserver",
        "http://models",
        _POLICY / POLICY,
        STATE / "rooms",
        FRONT_SOCKET,
        _audit_socket(models),
    )
    config = chat_config(agent, user, program, told)
    model = {
        "url": told.models,
        "socket": str(HANDED / MODELS_DOOR),
        "credential": MODEL_TOKEN,
    }
    return config | {
        "homeserverSocket": str(HANDED / HOMESERVER_DOOR),
        "model": model,
        "command": apart_command(program, _TASKS_SOCKET),
    }


def _audit_socket(models: ModelSettings) -> PurePosixPath | None:
    return None if models.audit_socket is None else PurePosixPath(SOCKET)


def _audit(models: ModelSettings) -> tuple[Mapping[str, Any], ...]:
    # The socket itself, not its directory: that is /run, and the log knows senders by their user.
    if models.audit_socket is None:
        return ()
    return (show(models.audit_socket, PurePosixPath(SOCKET)),)


def _shared(volume: str, target: PurePosixPath, *, read_only: bool = False) -> Mapping[str, Any]:
    return {"Type": "volume", "Source": volume, "Target": str(target), "ReadOnly": read_only}
