"""Strangers: one who talks and commands in the control room, one with big rooms of his own."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from soak.client import Client, RefusedError, segment
from soak.installation import AGENTS, BOT, DOMAIN

_LARGE = 40_000  # characters, of the 64 KiB that an event may have


async def in_the_control_room(
    client: Client, room: str, draw: random.Random, every_s: float
) -> None:
    """Send refused commands, near misses and talk for ever, also in bursts."""
    texts = [
        "!agency ping",
        f"!agency agents stop {AGENTS[0]}",
        "hello",
        "//agency ping",
        "> hm\n\nno",
    ]
    while True:
        for _ in range(draw.choice([1, 1, 1, 10])):
            with suppress(RefusedError):
                await client.send(room, {"body": draw.choice(texts)})
        await asyncio.sleep(draw.uniform(0, 2 * every_s))


async def in_own_rooms(client: Client, draw: random.Random, every_s: float) -> None:
    """Fill rooms to which our users are invited, with large messages and changes of membership."""
    rooms = []
    for _ in range(3):
        body = {"preset": "private_chat", "invite": [BOT, f"@agent-{AGENTS[0]}:{DOMAIN}"]}
        rooms.append(
            str((await client.call("POST", "/_matrix/client/v3/createRoom", body))["room_id"])
        )
    while True:
        room = draw.choice(rooms)
        with suppress(RefusedError):
            match draw.randrange(3):
                case 0:
                    await client.send(room, {"body": "!agency ping " + "x" * _LARGE})
                case 1:
                    await client.send(room, {"body": f"!agency agents stop {AGENTS[0]}"})
                case _:
                    agent = f"@agent-{draw.choice(AGENTS)}:{DOMAIN}"
                    for act in ("ban", "unban"):
                        path = f"/_matrix/client/v3/rooms/{segment(room)}/{act}"
                        await client.call("POST", path, {"user_id": agent, "reason": "x" * _LARGE})
        await asyncio.sleep(draw.uniform(0, 2 * every_s))
