"""Ports of a local agency, held by sockets that are handed to the programs that serve them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agency import naming
from agency.errors import UsageError
from agency.instance import Instance
from agency.listening import Held, hold, pause
from agency.spinup.targets.local.models import MODELS, MODELS_PORT

HOMESERVER = "homeserver"
CONTROL = "control"
CONTROL_API = "control-api"
_SERVED = (HOMESERVER, CONTROL, CONTROL_API, MODELS)


def usual_ports(instance: Instance, *, with_api: bool = False) -> dict[str, int]:
    """List the ports of an agency that has a machine to itself; an agent is `agent-NAME`.

    One that is kept running has the HTTP interface for people's programs, too.
    """
    ports = {HOMESERVER: naming.SERVICE_PORTS["synapse"], CONTROL: naming.SERVICE_PORTS["control"]}
    if with_api:
        ports[CONTROL_API] = naming.SERVICE_PORTS[CONTROL_API]
    if instance.models is not None:
        ports[MODELS] = MODELS_PORT
    for agent in instance.resolved_agents():
        ports[naming.agent_localpart(agent.name)] = agent.port
    return ports


def check_port_names(instance: Instance, pinned: Iterable[str], *, with_api: bool = False) -> None:
    """Refuse to pin the port of something that this instance does not have.

    Raises:
        UsageError: an unknown name.
    """
    known = usual_ports(instance, with_api=with_api)
    for name in pinned:
        if name not in known:
            raise UsageError(
                f"nothing named {name!r} needs a port", hint=f"use one of: {', '.join(known)}"
            )


def hold_ports(
    instance: Instance,
    wanted: Mapping[str, int],
    usual: Mapping[str, int] | None = None,
    *,
    with_api: bool = False,
) -> Held:
    """Listen on the ports of an agency: those that are wanted, the `usual` ones, or free ones.

    From here on until they are closed, no other program can have one. An agent's port refuses
    until the agent is started.

    Raises:
        PrerequisiteError: a wanted port is taken.
        UsageError: two names want one port.
    """
    held = hold(usual_ports(instance, with_api=with_api), wanted, usual)
    for name, each in held.sockets.items():
        if name not in _SERVED:
            pause(each)
    return held
