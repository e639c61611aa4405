"""Probes of an agent that works: its tools by ACP, and what its audit log says of one task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import aiohttp
from pydantic import Field

from agency.errors import BadInputError
from agency.protocols import TRACE_HEADER, AgentStatus, acp_endpoint
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.record import Evidence

PROBE = "agent.worked"
TOOLS = "agents.tools"
_LOGS = Path("/var/log/agency-agents")
_MOST = 32 * 1024 * 1024
_ANSWER = aiohttp.ClientTimeout(total=30.0)
_STATUS = acp_endpoint("status").path
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,24}$")]


class Worker(Nothing):
    """An agent by its name, and the trace id of the call."""

    agent: _Name
    trace: Annotated[str, Field(max_length=64)]


class Task(Nothing):
    """A task of an agent, by the message that asked for it."""

    agent: _Name
    message: Annotated[str, Field(max_length=255)]


@probe(TOOLS, Worker)
async def tools(here: Here, told: Worker) -> Evidence:
    """Ask an agent for the state of its gateway and of its tool servers.

    Raises:
        BadInputError: it does not run.
    """
    token, port = here.tokens().get(told.agent), here.ports.get(told.agent)
    if token is None or port is None:
        raise BadInputError("it has no token: it does not run", where=told.agent)
    headers = {"Authorization": f"Bearer {token.reveal()}", TRACE_HEADER: told.trace}
    async with (
        aiohttp.ClientSession(trust_env=False, timeout=_ANSWER) as session,
        session.get(f"http://127.0.0.1:{port}{_STATUS}", headers=headers) as answer,
    ):
        said = AgentStatus.model_validate_json(await answer.read())
    gateway = said.gateway
    return {
        "config": said.config_sha256,
        "gateway": None if gateway is None else gateway.health,
        "policy": None if gateway is None else gateway.policy_sha256,
        "servers": [{"name": each.name, "health": each.health} for each in said.mcp_servers],
    }


@probe(PROBE, Task)
def worked(_here: Here, told: Task) -> Evidence:
    """Read the rows of the agents' audit log about one task, from its message to its end.

    Raises:
        BadInputError: the log does not have the task from its beginning to its end.
    """
    rows = _rows(_LOGS / f"{told.agent}.jsonl")
    of_task = [each for each in rows if each["detail"].get("message") == told.message]
    ends = [each for each in of_task if each["event"] == "message.ended"]
    if not ends or of_task[0]["event"] != "message.taken":
        raise BadInputError("the log does not have the task as a whole", where=told.agent)
    first, last = of_task[0]["sequence"], ends[0]["sequence"]
    within = [each for each in rows if first <= each["sequence"] <= last]
    return {
        "outcome": ends[0]["detail"].get("outcome"),
        "audit": {"first": first, "last": last, "rows": [_row(each) for each in within]},
        "calls": [_call(each, within) for each in within if each["event"] == "tool.decided"],
        "models": [_model(each) for each in within if each["event"] == "model.called"],
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.stat().st_size > _MOST:
        raise BadInputError(f"longer than {_MOST} bytes", where=str(path))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _row(row: dict[str, Any]) -> Evidence:
    return {"event": row["event"], "sequence": row["sequence"], "uid": row["uid"]}


def _call(row: dict[str, Any], rows: list[dict[str, Any]]) -> Evidence:
    """Tell of one call: how it was decided, by which rule, and how it ended, if it was made."""
    detail = row["detail"]
    ends = [
        each["detail"]
        for each in rows
        if each["event"] == "tool.ended" and each["detail"].get("call") == detail["call"]
    ]
    return {
        "tool": detail.get("tool"),
        "decision": detail["decision"],
        "rule": detail.get("rule"),
        "arguments": detail["arguments"],
        "outcome": ends[0]["outcome"] if ends else None,
    }


def _model(row: dict[str, Any]) -> Evidence:
    names = ("model", "provider", "outcome", "status", "tokens", "cost_nanos", "request_sha256")
    told = {name: row["detail"].get(name) for name in names}
    return {
        "model": told["model"],
        "provider": told["provider"],
        "outcome": told["outcome"],
        "status": told["status"],
        "tokens": told["tokens"],
        "costNanos": told["cost_nanos"],
        "requestSha256": told["request_sha256"],
    }
