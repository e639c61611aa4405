"""Command of the unit that takes over an agent's remote."""

from __future__ import annotations

from pathlib import Path

import click

from agency.commandline import emit, json_option
from agency.workspace.options import settings_option


@click.command()
@click.argument("agent")
@settings_option
@json_option
def clone(agent: str, directory: Path, as_json: bool) -> None:
    """Take over the remote of AGENT's workspace, once; its own changes stay.

    Exits with 3 while the remote cannot be read: its unit tries again.
    """
    from agency.programs import find_program
    from agency.workspace.config import WORKSPACE, feature_off, load_agent
    from agency.workspace.scaffold.adopt import Adopter
    from agency.workspace.scaffold.files import Identity, files

    found = load_agent(agent, directory)
    about = found.workspace
    if about is None:
        raise feature_off(agent, "workspace")
    told: dict[str, object] = {"taken": "there is no remote", "branch": None, "kept": []}
    if about.remote is not None:
        who = Identity(
            name=found.name,
            role=found.role,
            full_name=about.full_name,
            matrix_id=about.matrix_id,
            email=about.email,
            domain=about.domain,
            operators=about.operators,
        )
        git = find_program("git", hint="install git, or add it to the unit's path")
        done = Adopter(git, found.home / WORKSPACE, found.home).adopt(files(who))
        told = {"taken": str(done.taken), "branch": done.branch, "kept": list(done.kept)}
    emit(
        told,
        as_json=as_json,
        human=lambda console: console.print(
            f"{told['taken']}"
            + (f"; kept as they are: {', '.join(map(str, done.kept))}" if told["kept"] else ""),
            markup=False,
        ),
    )
