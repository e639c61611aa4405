"""What is seen of the agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import aiohttp

from agency.ports import is_listening
from agency.protocols.acp import HEALTH_PATH, STATUS_PATH
from agency.secrets.values import SecretValue
from agency.spinup.record import Evidence


async def health(
    session: aiohttp.ClientSession, ports: Mapping[str, int], tokens: Mapping[str, SecretValue]
) -> Evidence:
    """Each agent's `GET /health` and `GET /status`, and that a caller without token is refused."""
    seen = []
    for name, port in sorted(ports.items()):
        base = f"http://127.0.0.1:{port}"
        bearer = {"Authorization": f"Bearer {tokens[name].reveal()}"}
        async with session.get(base + HEALTH_PATH, headers=bearer) as answer:
            status, body = answer.status, await answer.json(content_type=None)
        async with session.get(base + STATUS_PATH, headers=bearer) as answer:
            details = await answer.json(content_type=None)
        async with session.get(base + HEALTH_PATH) as answer:
            unauthorised = answer.status
        seen.append(
            {
                "name": name,
                "status": status,
                "body": body,
                "pid": details.get("pid"),
                "project": details.get("project"),
                "unauthorised": unauthorised,
            }
        )
    return {"agents": seen}


def stopped(ports: Mapping[str, int], pids: Mapping[str, int]) -> Evidence:
    """That the processes seen before are gone, and that nothing listens where they did."""
    return {
        "agents": [
            {
                "name": name,
                "pid": pids[name],
                "processGone": not (Path("/proc") / str(pids[name])).exists(),
                "portClosed": not is_listening(port),
            }
            for name, port in sorted(ports.items())
        ]
    }
