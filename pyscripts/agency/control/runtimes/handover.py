"""What every runtime hands an agent at start, and the names it accepts."""

from __future__ import annotations

from pydantic import ValidationError

from agency import naming
from agency.acp import AgentConfig
from agency.canonical import canonical_json
from agency.control.runtimes.base import AgentRuntimeError, StartRequest

HOST = "127.0.0.1"


def checked_name(name: str) -> str:
    """The name, before it becomes part of a path or of a unit's name.

    Raises:
        AgentRuntimeError: it is not the name of an agent.
    """
    if not naming.is_name(name):
        raise AgentRuntimeError(
            "not the name of an agent",
            where=repr(name[:40]),
            hint="a name is 1 to 30 of a-z, 0-9 and inner dashes, and begins with a letter",
        )
    return name


def agent_config(request: StartRequest) -> bytes:
    """The agent's configuration file.

    Raises:
        AgentRuntimeError: the request asks for what no agent can have, such as port 0.
    """
    try:
        config = AgentConfig(
            name=request.name,
            role=request.role,
            host=HOST,
            port=request.port,
            project=request.project,
            trace=request.trace,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise AgentRuntimeError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=request.name
        ) from error
    return canonical_json(config.model_dump()) + b"\n"
