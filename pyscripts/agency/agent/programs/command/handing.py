"""Packets between an account in rooms and the command-line agent that it keeps apart.

    account ── model; standard input, output, errors ─────────────▶ host of the agent (hosting.py)
            ◀─ ports that listen in the agent's network, open ────
            ◀─ exit status, or why nothing was started ───────────

Whoever accepts at the ports decides where they lead: the agent's network leads nowhere by itself.
Sources: unix(7) (SOCK_SEQPACKET, SCM_RIGHTS), network_namespaces(7).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MODEL_PORT, GATEWAY_PORT = 2100, 2200  # in the agent's network, where nothing else listens
MODEL_URL = f"http://127.0.0.1:{MODEL_PORT}/v1"
GATEWAY_URL = f"http://127.0.0.1:{GATEWAY_PORT}/mcp"
_MAX_BYTES, _MAX_DESCRIPTORS = 4096, 3


class HandingError(Exception):
    """The other side is gone, or says what nobody asked for."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; its descriptors belong to whoever received it."""

    told: dict[str, Any]
    descriptors: list[int]

    def close(self) -> None:
        """Close its descriptors; safe to repeat."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def make_socket() -> socket.socket:
    """Make a socket for packets."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.setblocking(False)
    return made


def send(there: socket.socket, told: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a packet.

    Raises:
        HandingError: the other side is gone.
    """
    try:
        socket.send_fds(there, [json.dumps(told).encode()], descriptors)
    except OSError as error:
        raise HandingError(f"the other side is gone: {error.strerror}") from error


async def receive(there: socket.socket) -> Packet:
    """Wait for a packet.

    Raises:
        HandingError: the other side is gone, or it is none.
    """
    await _readable(there)
    try:
        data, descriptors, flags, _ = socket.recv_fds(there, _MAX_BYTES, _MAX_DESCRIPTORS)
    except OSError as error:
        raise HandingError(f"the other side is gone: {error.strerror}") from error
    packet = Packet(_object(data), descriptors)
    if packet.told and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        return packet
    packet.close()
    raise HandingError("the other side sent no packet" if data else "the other side is gone")


def _object(data: bytes) -> dict[str, Any]:
    """Read an object; return an empty one if it is none."""
    try:
        told = json.loads(data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


async def _readable(there: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(there, wake)
    try:
        await ready
    finally:
        loop.remove_reader(there)
