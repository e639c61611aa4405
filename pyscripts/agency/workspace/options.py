"""Options that several commands of `agency workspace` take."""

from __future__ import annotations

from pathlib import Path

import click

settings_option = click.option(
    "--settings",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default="/etc/agency/agents",
    show_default=True,
    help="Where NAME.json of the agent is.",
)

workspace_option = click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    help="The workspace.  [default: ~/agent-space]",
)
