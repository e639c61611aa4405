"""`agency workspace`: the programs behind an agent's units."""

from __future__ import annotations

import click

from agency.commandline import add_unwritten
from agency.workspace.audit.commands import audit
from agency.workspace.browser.commands import browser
from agency.workspace.contract.commands import coding_agent
from agency.workspace.incidents.commands import incidents
from agency.workspace.mcp.commands import mcp
from agency.workspace.scaffold.commands import clone
from agency.workspace.servers.commands import serve
from agency.workspace.tasks.commands import collect, schedule, task_loop, tasks


@click.group()
def workspace() -> None:
    """Run the programs behind an agent's features; their units call this."""


for command in (
    audit,
    browser,
    tasks,
    schedule,
    task_loop,
    collect,
    clone,
    coding_agent,
    incidents,
    mcp,
    serve,
):
    workspace.add_command(command)
add_unwritten(workspace)
