"""All that the swarm has of a stack: found by Docker's label of it, or by a name that begins so.

abra names secrets after the stack and gives them no label.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiodocker

from agency.clock import Clock
from agency.coopcloud.stack import NAMESPACE
from agency.docker import DockerError, answers, call

# In the order of removal: nothing can go while what uses it is there.
_KINDS = ("service", "container", "volume", "secret", "config", "network")
_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Remain:
    """One object of a stack; `kind` is Docker's word for it."""

    kind: str
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


async def remains(client: aiodocker.Docker, url: str, stack: str) -> tuple[Remain, ...]:
    """List what there is of a stack, also containers that have ended."""
    found = []
    with answers(url):
        for kind in _KINDS:
            found += [one for one in await _list(client, kind) if _is_of(one, stack)]
    return tuple(Remain(kind, id_, name) for kind, id_, name, _ in found)


Row = tuple[str, str, str, Mapping[str, str]]


def _is_of(row: Row, stack: str) -> bool:
    kind, _, name, labels = row
    if labels.get(NAMESPACE) == stack:
        return True
    return kind != "container" and name.startswith(f"{stack}_")


async def _list(client: aiodocker.Docker, kind: str) -> list[Row]:
    query = {"all": "1"} if kind == "container" else None
    answer = await call(client, "GET", f"{kind}s{'/json' * (kind == 'container')}", params=query)
    rows: list[dict[str, Any]] = answer["Volumes"] or [] if kind == "volume" else answer
    return [_row(kind, row) for row in rows]


def _row(kind: str, row: dict[str, Any]) -> Row:
    if kind == "container":
        return kind, row["Id"], row["Names"][0].strip("/"), row.get("Labels") or {}
    if kind == "volume":
        return kind, row["Name"], row["Name"], row.get("Labels") or {}
    if kind == "network":
        return kind, row["Id"], row["Name"], row.get("Labels") or {}
    return kind, row["ID"], row["Spec"]["Name"], row["Spec"].get("Labels") or {}


async def remove_stack(
    client: aiodocker.Docker, url: str, stack: str, *, seconds: float, clock: Clock
) -> tuple[Remain, ...]:
    """Remove all that there is of a stack; return what is left when the time is over.

    Docker refuses to remove what is still in use, so it is asked again until it is gone. Containers
    are not removed but waited for: the swarm ends those of a removed service.
    """
    deadline = clock.steady() + seconds
    while left := await remains(client, url, stack):
        if clock.steady() >= deadline:
            return left
        served = any(one.kind == "service" for one in left)
        for one in left:
            if one.kind == "container" and (served or not await _ended(client, url, one.id)):
                continue
            with suppress(DockerError), answers(url):
                await _delete(client, one)
        await asyncio.sleep(_POLL_S)
    return ()


async def _ended(client: aiodocker.Docker, url: str, container: str) -> bool:
    """Return whether a container has ended or is gone."""
    query = {"all": "1", "filters": json.dumps({"id": [container]})}
    with answers(url):
        rows = await call(client, "GET", "containers/json", params=query)
    return not rows or rows[0]["State"] in ("exited", "dead", "created")


async def _delete(client: aiodocker.Docker, one: Remain) -> None:
    if one.kind == "service":
        await client.services.delete(one.id)
    elif one.kind == "secret":
        await client.secrets.delete(one.id)
    elif one.kind == "config":
        await client.configs.delete(one.id)
    else:
        await call(client, "DELETE", f"{one.kind}s/{one.id}")
