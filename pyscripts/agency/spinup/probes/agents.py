"""Probes of the agents."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from agency.errors import BadInputError
from agency.ports import is_listening
from agency.protocols import HEALTH_PATH, STATUS_PATH
from agency.spinup.probes.probe import Here, Nothing, Pids, probe
from agency.spinup.record import Evidence

_ANSWER = aiohttp.ClientTimeout(total=30.0)


@probe("agents.health", Nothing)
async def health(here: Here, _told: Nothing) -> Evidence:
    """Ask each agent for its health and status, and see that a caller without token is refused."""
    tokens = here.tokens()
    missing = sorted(here.ports.keys() - tokens.keys())
    if missing:
        raise BadInputError(f"no token was handed to {', '.join(missing)}: not running")
    async with aiohttp.ClientSession(trust_env=False, timeout=_ANSWER) as session:
        return {
            "agents": [
                await _health(session, name, port, tokens[name].reveal())
                for name, port in sorted(here.ports.items())
            ]
        }


async def _health(session: aiohttp.ClientSession, name: str, port: int, token: str) -> Evidence:
    base = f"http://127.0.0.1:{port}"
    bearer = {"Authorization": f"Bearer {token}"}
    async with session.get(base + HEALTH_PATH, headers=bearer) as answer:
        status, body = answer.status, await answer.json(content_type=None)
    async with session.get(base + STATUS_PATH, headers=bearer) as answer:
        details = await answer.json(content_type=None)
    async with session.get(base + HEALTH_PATH) as answer:
        unauthorised = answer.status
    return {
        "name": name,
        "status": status,
        "body": body,
        "pid": details.get("pid"),
        "project": details.get("project"),
        "unauthorised": unauthorised,
    }


@probe("agents.stopped", Pids)
def stopped(here: Here, told: Pids) -> Evidence:
    """See that the processes seen before are gone, and that nothing listens where they did."""
    return {
        "agents": [
            {
                "name": name,
                "pid": told.pids[name],
                "processGone": not (Path("/proc") / str(told.pids[name])).exists(),
                "portClosed": not is_listening(port),
            }
            for name, port in sorted(here.ports.items())
        ]
    }
