"""Commands of incidents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.workspace.options import workspace_option

if TYPE_CHECKING:
    from agency.workspace.incidents.model import Issue

_shared_option = click.option(
    "--shared",
    type=click.Path(path_type=Path, file_okay=False),
    default="/var/lib/agency-incidents",
    show_default=True,
    help="The shared record.",
)


def _issues(workspace: Path | None) -> list[Issue]:
    from agency.workspace.config import WORKSPACE
    from agency.workspace.incidents.model import EXAMPLES, Issues, issue_rules
    from agency.workspace.sheets import read_sheet

    path = (workspace or Path.home() / WORKSPACE) / "ISSUES.yaml"
    return read_sheet(path, Issues, issue_rules, EXAMPLES)[0].issues


@click.group()
def incidents() -> None:
    """Check, share, tell and escalate incidents."""


@incidents.command()
@workspace_option
@json_option
def check(workspace: Path | None, as_json: bool) -> None:
    """Check ISSUES.yaml; exit 1 where it has faults."""
    number = len(_issues(workspace))
    emit(
        {"ok": True, "issues": number},
        as_json=as_json,
        human=lambda console: console.print(f"good: {number} incidents"),
    )


@incidents.command()
@click.argument("agent")
@workspace_option
@_shared_option
@json_option
def publish(agent: str, workspace: Path | None, shared: Path, as_json: bool) -> None:
    """Share AGENT's incidents with the other agents; run by AGENT's user."""
    from agency.workspace.incidents import shared as record

    written = record.publish(agent, _issues(workspace), shared)
    emit(
        {"published": written},
        as_json=as_json,
        human=lambda console: console.print(f"published: {', '.join(written) or 'nothing new'}"),
    )


@incidents.command()
@click.argument("agent")
@workspace_option
@_shared_option
@json_option
def known(agent: str, workspace: Path | None, shared: Path, as_json: bool) -> None:
    """Tell the open incidents, as AGENT's tasks bring them along."""
    from agency.workspace.incidents.shared import known_text, read_shared

    others = read_shared(shared) if shared.exists() else []
    text = known_text(_issues(workspace), others, agent)
    emit(
        {"text": text},
        as_json=as_json,
        human=lambda console: console.print(text or "no open incident", markup=False),
    )


@incidents.command()
@_shared_option
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default="/var/lib/agency-incidents-escalated",
    show_default=True,
    help="Where it keeps what was told.",
)
@click.option(
    "--url",
    default="http://127.0.0.1:8010/alerts",
    show_default=True,
    help="The control plane's webhook of alerts.",
)
@json_option
def escalate(shared: Path, state: Path, url: str, as_json: bool) -> None:
    """Tell critical incidents in the control room, once, and when they are over.

    Reads the credential alertmanager-token. Exits with 3 while the control plane cannot tell it.
    """
    from agency.clock import Clock
    from agency.commandline import log_to_stderr
    from agency.secrets import ALERTMANAGER_TOKEN, read_credential
    from agency.workspace.incidents.escalation import Webhook
    from agency.workspace.incidents.escalation import escalate as run
    from agency.workspace.incidents.shared import read_shared

    log_to_stderr()
    room = Webhook(url, read_credential(ALERTMANAGER_TOKEN))
    plan = run(read_shared(shared), state, room, Clock())
    emit(
        {"told": list(plan.firing), "over": list(plan.resolved)},
        as_json=as_json,
        human=lambda console: console.print(
            f"told: {', '.join(plan.firing) or 'nothing'}; "
            f"over: {', '.join(plan.resolved) or 'nothing'}",
            markup=False,
        ),
    )
