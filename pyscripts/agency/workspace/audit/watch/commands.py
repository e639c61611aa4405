"""`agency workspace audit watch`: numbers over the agents' audit logs, for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from agency.workspace.audit.watch.state import State

_AGENTS = "/etc/agency/agents"
_path = click.Path(path_type=Path, readable=False)


@click.command()
@click.option("--state", type=_path, required=True, help="Where the heads of the logs are kept.")
@click.option("--metrics", type=_path, required=True, help="File for Prometheus, ending in .prom.")
@click.option(
    "--config", type=_path, help="Usual programs of agents; without it none are looked at."
)
@click.option(
    "--directory",
    type=_path,
    default="/var/log/agency-agents",
    show_default=True,
    help="Where the logs are.",
)
@json_option
def watch(
    state: Path,
    metrics: Path,
    config: Path | None,
    directory: Path,
    as_json: bool,
) -> None:
    """Read what is new in the logs, and write numbers for alerts; exit 0 also where one is broken.

    The heads that --state keeps show also that a log was cut or replaced.
    """
    from agency import naming
    from agency.clock import Clock
    from agency.commandline import log_to_stderr
    from agency.settings import load
    from agency.workspace.audit.service.peers import agent_of
    from agency.workspace.audit.watch.programs import Programs
    from agency.workspace.audit.watch.watching import Watch

    log_to_stderr()
    agents = tuple(
        sorted(p.stem for p in Path(_AGENTS).glob("*.json") if naming.is_agent_name(p.stem))
    )
    programs = Programs() if config is None else load(config, Programs, what="the usual programs")
    watched = Watch(directory, state, metrics, agents, agent_of, programs)
    found = watched.look(Clock())
    emit(_told(found), as_json=as_json, human=lambda console: _print(console, found))


def _told(found: State) -> dict[str, object]:
    return {
        "agents": [
            {
                "agent": name,
                "sequence": one.sequence,
                "hash": one.hash,
                "broken": one.broken,
                **one.tally.model_dump(include={"records", "denials", "lost"}),
            }
            for name, one in sorted(found.agents.items())
        ]
    }


def _print(console: Console, found: State) -> None:
    for name, one in sorted(found.agents.items()):
        said = f"broken: {one.broken}" if one.broken is not None else "good"
        console.print(
            f"{name}: record {one.sequence}, {one.tally.denials} denials, "
            f"{one.tally.lost} lost, {said}",
            markup=False,
        )
    if not found.agents:
        console.print("there is no log yet")
