"""Commands of an agent's MCP configuration."""

from __future__ import annotations

from pathlib import Path

import click

from agency.commandline import emit, json_option
from agency.workspace.options import settings_option


@click.group()
def mcp() -> None:
    """Configure how an agent's programs reach their tools."""


@mcp.command()
@click.argument("agent")
@settings_option
@json_option
def configure(agent: str, directory: Path, as_json: bool) -> None:
    """Write AGENT's ~/.mcp.json: its gateway, through which it reaches every tool."""
    from agency.errors import PrerequisiteError
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.mcp.configure import configure as run

    found = load_agent(agent, directory)
    if found.mcp is None:
        raise feature_off(agent, "mcp")
    if found.mcp.gateway is None:
        raise PrerequisiteError(
            "the agent has no gateway",
            where=f"agency.agents.{agent}.mcp.gatewayPort",
            hint="set the loopback port on which its gateway serves it",
        )
    changed = run(found.home, found.mcp.gateway)
    emit(
        {"changed": changed},
        as_json=as_json,
        human=lambda console: console.print("written" if changed else "nothing to change"),
    )
