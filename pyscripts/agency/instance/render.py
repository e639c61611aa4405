"""What is rendered from an instance into `generated/`."""

from __future__ import annotations

from agency import naming
from agency.instance.model import Instance
from agency.instance.templates import fill


def registration(instance: Instance, *, url: str, as_token: str, hs_token: str) -> bytes:
    """The application service registration that Synapse reads (Matrix AS API v1.11, section 3.1).

    It owns the agents' user ids, its own, and the control room's alias.
    """
    domain = instance.domain.replace(".", r"\.")
    return fill(
        "matrix/registration.yaml.j2",
        id=naming.APPSERVICE_ID,
        url=url,
        as_token=as_token,
        hs_token=hs_token,
        sender_localpart=naming.CONTROL_LOCALPART,
        agents_regex=f"@{naming.agent_localpart('.*')}:{domain}$",
        sender_regex=f"@{naming.CONTROL_LOCALPART}:{domain}$",
        room_regex=f"#{naming.CONTROL_ROOM_LOCALPART}:{domain}$",
    )
