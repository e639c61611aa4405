"""The names that v1 compares evidence with, as `agency.naming` made them at its release."""

from __future__ import annotations

CONTROL_LOCALPART = "agency"
CONTROL_ROOM_LOCALPART = "control"


def agent_unit(name: str) -> str:
    """The systemd unit that runs an agent."""
    return f"agency-agent@{name}.service"


def agent_localpart(name: str) -> str:
    """The localpart of an agent's Matrix user; all lie in the appservice's namespace."""
    return f"agent-{name}"


def matrix_id(localpart: str, domain: str) -> str:
    """A full Matrix user id."""
    return f"@{localpart}:{domain}"


def control_room_alias(domain: str) -> str:
    """The alias of the control room."""
    return f"#{CONTROL_ROOM_LOCALPART}:{domain}"


def public_host(service: str, domain: str) -> str:
    """The host name under which a service is reached from outside, behind the edge."""
    return f"{service}.{domain}"
