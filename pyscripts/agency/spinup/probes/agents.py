"""Probes of the agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import aiohttp
from pydantic import Field

from agency.errors import BadInputError
from agency.ports import is_listening
from agency.protocols import (
    HEALTH_PATH,
    STATUS_PATH,
    TRACE_HEADER,
    AgentStatus,
    acp_endpoint,
)
from agency.spinup.probes.probe import Here, Nothing, Pid, Pids, probe
from agency.spinup.record import Evidence

_ANSWER = aiohttp.ClientTimeout(total=30.0)
_STATUS = acp_endpoint("status").path


class Process(Nothing):
    """One process."""

    pid: Pid


class Asked(Nothing):
    """An agent by its name, and the trace id of the call, which the agent logs."""

    agent: Annotated[str, Field(max_length=64)]
    trace: Annotated[str, Field(max_length=64)]


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


@probe("agents.status", Asked)
async def own_status(here: Here, told: Asked) -> Evidence:
    """Ask one agent for its own status by ACP: process, incarnation and the secrets that it holds.

    Of a secret it says name and version, never the value.

    Raises:
        BadInputError: it does not run.
    """
    token, port = here.tokens().get(told.agent), here.ports.get(told.agent)
    if token is None or port is None:
        raise BadInputError("it has no token: it does not run", where=told.agent)
    headers = {"Authorization": f"Bearer {token.reveal()}", TRACE_HEADER: told.trace}
    url = f"http://127.0.0.1:{port}{_STATUS}"
    async with (
        aiohttp.ClientSession(trust_env=False, timeout=_ANSWER) as session,
        session.get(url, headers=headers) as answer,
    ):
        status, said = answer.status, AgentStatus.model_validate_json(await answer.read())
    return {
        "agent": said.agent,
        "status": status,
        "pid": said.pid,
        "incarnation": said.incarnation,
        "project": said.project,
        "secrets": [{"name": each.name, "version": each.version} for each in said.secrets],
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


@probe("process.alive", Process)
def alive(here: Here, told: Process) -> Evidence:  # noqa: ARG001 - the same on every machine
    """See whether a process is there."""
    return {"pid": told.pid, "alive": (Path("/proc") / str(told.pid)).exists()}
