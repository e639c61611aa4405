"""Peer of a connection: the kernel's credentials, and the agent that they belong to."""

from __future__ import annotations

import pwd
import socket
from pathlib import Path

from agency import naming
from agency.unix_sockets import peer_of
from agency.workspace.audit.record import Sender

_AGENTS = Path("/etc/agency/agents")
# It tells what the calls of all agents to models cost, and no agent can speak as it.
PROXY_UID = naming.SERVICE_UIDS["proxy"]
PROXY_EVENTS = frozenset({"model.called"})


def sender_of(connection: socket.socket) -> Sender:
    """Read user and process of the peer that made the connection (SO_PEERCRED)."""
    peer = peer_of(connection)
    return Sender(peer.uid, peer.pid)


def agent_of(uid: int, agents: Path = _AGENTS) -> str | None:
    """Find the agent of a uid, by the machine's users and the instance's agents.

    The user must have an agent's user name and a uid in the agents' range, and the agent must have
    its file below `agents`: a user that outlived its agent belongs to none. In containers an agent
    has a uid without a user.
    """
    if uid - naming.CONTAINER_UIDS in naming.AGENT_UIDS:
        return _contained(uid, agents)
    if uid not in naming.AGENT_UIDS:
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
    name = user.removeprefix(naming.agent_user(""))
    if user != naming.agent_user(name) or not naming.is_agent_name(name):
        return None
    return name if (agents / f"{name}.json").is_file() else None


def _contained(uid: int, agents: Path) -> str | None:
    names = sorted(each.stem for each in agents.glob("*.json") if naming.is_agent_name(each.stem))
    found = [name for name in names if naming.container_uid(name) == uid]
    return found[0] if len(found) == 1 else None  # of two that share one, neither


def is_agent(name: object, agents: Path = _AGENTS) -> bool:
    """Return whether an agent of this machine's instance has a name."""
    named = isinstance(name, str) and naming.is_agent_name(name)
    return named and (agents / f"{name}.json").is_file()
