"""The accounts of a spin-up: the operators of its domain, and somebody who is none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from agency.errors import AgencyError
from agency.instance import Instance
from agency.matrix import REGISTRATION_PATH, registration_body
from agency.secrets import SecretValue

_REGISTER_S = 30.0


class ConversationError(AgencyError):
    """A homeserver or a control plane that does not answer as a person may expect."""


class AccountExistsError(ConversationError):
    """A user that the homeserver has already."""


async def create_people(
    session: aiohttp.ClientSession,
    homeserver: str,
    instance: Instance,
    *,
    password: SecretValue,
    shared_secret: SecretValue,
    outsider: str | None = None,
    also: Iterable[str] = (),
    again: bool = False,
) -> None:
    """Register the operators of this domain (and an outsider for trials), all with one password.

    `also` are others, by full Matrix id; who is an operator is registered once. With `again`, those
    that have an account already are left alone. Operators of other domains have their accounts
    elsewhere.

    Raises:
        ConversationError: the homeserver refused.
    """
    suffix = f":{instance.domain}"
    people = dict.fromkeys((*instance.operators, *also))
    local = [who[1:].removesuffix(suffix) for who in people if who.endswith(suffix)]
    for localpart in [*local, *([outsider] if outsider else [])]:
        try:
            await create_account(session, homeserver, localpart, password, shared_secret)
        except AccountExistsError:
            if not again:
                raise


async def create_account(
    session: aiohttp.ClientSession,
    homeserver: str,
    localpart: str,
    password: SecretValue,
    shared_secret: SecretValue,
) -> None:
    """Register a user with Synapse's shared-secret admin API.

    Source: Synapse documentation, "Shared-Secret Registration".

    Raises:
        ConversationError: the homeserver refused, or does not answer as it should.
    """
    url = homeserver + REGISTRATION_PATH
    try:
        async with asyncio.timeout(_REGISTER_S):
            async with session.get(url) as answer:
                nonce = str((await answer.json())["nonce"])
            body = registration_body(nonce, localpart, password.reveal(), shared_secret.reveal())
            async with session.post(url, json=body) as answer:
                refusal = None if answer.status == 200 else await _refusal(answer)
    except TimeoutError as error:
        raise ConversationError(
            f"registering {localpart}: no answer within {_REGISTER_S:g} s", where=url
        ) from error
    except (aiohttp.ClientError, KeyError, TypeError, ValueError) as error:
        raise ConversationError(
            f"registering {localpart}: {type(error).__name__}: {error}", where=url
        ) from error
    if refusal is not None:
        kind = AccountExistsError if "M_USER_IN_USE" in refusal else ConversationError
        raise kind(f"registering {localpart}: {refusal}", where=url)


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    try:
        problem = await answer.json(content_type=None)
    except ValueError:  # not of Synapse itself
        problem = None
    code = problem.get("errcode") if isinstance(problem, dict) else None
    return f"HTTP {answer.status} {code or 'without a reason'}"
