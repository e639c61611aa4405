"""The accounts of a spin-up: the operators of its domain, and somebody who is none."""

from __future__ import annotations

import aiohttp

from agency.instance.model import Instance
from agency.secrets.values import SecretValue
from agency.spinup.scenario.person import create_account


async def create_people(
    session: aiohttp.ClientSession,
    homeserver: str,
    instance: Instance,
    *,
    password: SecretValue,
    shared_secret: SecretValue,
    outsider: str | None = None,
) -> None:
    """Register the operators of this domain (and an outsider for trials), all with one password.

    Operators of other domains have their accounts elsewhere.

    Raises:
        ConversationError: the homeserver refused.
    """
    suffix = f":{instance.domain}"
    local = [who[1:].removesuffix(suffix) for who in instance.operators if who.endswith(suffix)]
    for localpart in [*local, *([outsider] if outsider else [])]:
        await create_account(session, homeserver, localpart, password, shared_secret)
