"""`agency workspace`: the programs behind an agent's units."""

from __future__ import annotations

import click

from agency.commandline.unwritten import Unwritten, add_unwritten
from agency.workspace.audit.commands import audit

_AGENT = ("agent",)
_OPTION = "agency.agents.<name>"

UNWRITTEN = (
    Unwritten(("desktop",), f"{_OPTION}.desktop", "Run the agent's headless desktop.", _AGENT),
    Unwritten(("browser",), f"{_OPTION}.browser", "Run the agent's browser.", _AGENT),
    Unwritten(("mail", "serve"), f"{_OPTION}.mail", "Serve the agent its mail account.", _AGENT),
    Unwritten(
        ("passwords", "serve"), f"{_OPTION}.passwords", "Serve the agent its passwords.", _AGENT
    ),
    Unwritten(("tailnet",), f"{_OPTION}.tailnet", "Join the agent to its tailnet.", _AGENT),
    Unwritten(("ssh-agent",), f"{_OPTION}.ssh", "Hold the agent's SSH key.", _AGENT),
    Unwritten(("scaffold",), f"{_OPTION}.workspace", "Make and repair the workspace.", _AGENT),
    Unwritten(("mcp", "configure"), f"{_OPTION}.mcp", "Write the MCP configuration.", _AGENT),
    Unwritten(("schedule",), f"{_OPTION}.taskLoop", "Take new work into the task list.", _AGENT),
    Unwritten(("task-loop",), f"{_OPTION}.taskLoop", "Work through the task list once.", _AGENT),
    Unwritten(
        ("coding-agent", "serve"), f"{_OPTION}.codingAgent", "Run tasks under the contract.", _AGENT
    ),
    Unwritten(("incidents", "escalate"), "agency.incidents", "Tell operators of incidents."),
)


@click.group()
def workspace() -> None:
    """Run the programs behind an agent's features; their units call this."""


add_unwritten(workspace, UNWRITTEN)
workspace.add_command(audit)
