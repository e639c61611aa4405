"""Observations of the control plane from outside its machine."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from agency.matrix import Person, client_path
from agency.secrets import SecretValue
from agency.spinup.record import Evidence

_POLL_S = 0.25
_EMPTY: dict[str, Any] = {"events": []}


async def ready(
    session: aiohttp.ClientSession, url: str, hs_token: SecretValue, *, within_s: float = 60.0
) -> Evidence:
    """`GET /ready`: whether the whole path works, and which versions make it.

    The versions are told to the homeserver's token alone.

    Who has just started it must give it time to find the homeserver, and systemd does not wait for
    that: it is asked until it is ready, for so many seconds at most. The last answer counts.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        seen = await _answer(session, f"{url}/ready", hs_token)
        if seen["ready"] is True or asyncio.get_running_loop().time() > deadline:
            return seen
        await asyncio.sleep(_POLL_S)


async def _answer(session: aiohttp.ClientSession, url: str, hs_token: SecretValue) -> Evidence:
    headers = {"Authorization": f"Bearer {hs_token.reveal()}"}
    async with session.get(url, headers=headers) as answer:
        body = await answer.json()
        versions = body.get("versions", {})
        return {
            "url": url,
            "status": answer.status,
            "ready": body.get("ready"),
            "version": versions.get("agency"),
            "pythonVersion": versions.get("python"),
            "schemaRevision": versions.get("schema"),
        }


async def refuses_wrong_token(
    session: aiohttp.ClientSession, url: str, hs_token: SecretValue
) -> Evidence:
    """Transactions without the right token, and with the right one in the wrong place.

    That the right one opens where it belongs is seen by a ping, which changes nothing.
    """
    target = f"{url}/_matrix/app/v1/transactions/probe"
    tries: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("missing", {}, {}),
        ("wrong", {"Authorization": "Bearer not-the-token"}, {}),
        ("query", {}, {"access_token": hs_token.reveal()}),
    ]
    attempts = []
    for kind, headers, params in tries:
        async with session.put(target, json=_EMPTY, headers=headers, params=params) as answer:
            body = await answer.json(content_type=None)
            attempts.append(
                {"token": kind, "status": answer.status, "errcode": body.get("errcode")}
            )
    right = {"Authorization": f"Bearer {hs_token.reveal()}"}
    async with session.post(f"{url}/_matrix/app/v1/ping", json={}, headers=right) as answer:
        accepted = {"token": "right", "status": answer.status}
    return {"attempts": attempts, "accepted": accepted}


async def room(operator: Person, room_id: str, alias: str) -> Evidence:
    """Read the control room's members and rules as an operator."""
    members = await operator.request("GET", client_path("rooms", room_id, "joined_members"))
    state = await operator.state(room_id)
    by_type = {event["type"]: event["content"] for event in state if event["state_key"] == ""}
    return {
        "roomId": room_id,
        "alias": alias,
        "joined": sorted(members["joined"]),
        "encrypted": "m.room.encryption" in by_type,
        "joinRule": by_type.get("m.room.join_rules", {}).get("join_rule"),
    }


async def deliver(
    session: aiohttp.ClientSession,
    url: str,
    hs_token: SecretValue,
    txn: str,
    events: list[dict[str, Any]],
) -> int:
    """Hand the control plane a transaction as its homeserver would; returns the HTTP status."""
    target = f"{url}/_matrix/app/v1/transactions/{txn}"
    headers = {"Authorization": f"Bearer {hs_token.reveal()}"}
    async with session.put(target, json={"events": events}, headers=headers) as answer:
        return answer.status
