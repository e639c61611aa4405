"""Commands of the coding contract."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agency.commandline import emit, json_option
from agency.workspace.options import settings_option

if TYPE_CHECKING:
    from rich.console import Console

    from agency.workspace.config import AgentSettings
    from agency.workspace.contract.repository import Checkout
    from agency.workspace.contract.work import Summary, Work

STATE = ".local/state/agency-coding"
_repository_option = click.option(
    "--repository", required=True, metavar="NAME", help="A repository below ~/agent-space/.repos."
)


@click.group("coding-agent")
def coding_agent() -> None:
    """Do coding work under the contract: one branch, commits, and no way to push."""


@coding_agent.command()
@click.argument("agent")
@_repository_option
@settings_option
@json_option
def check(agent: str, repository: str, directory: Path, as_json: bool) -> None:
    """Check that work may begin: repository, clean tree, remote; change nothing."""
    from agency.workspace.config import load_agent
    from agency.workspace.contract.preflight import clear
    from agency.workspace.contract.repository import check_hooks

    check_hooks()
    found = clear(checkout_of(load_agent(agent, directory), repository))
    emit(
        {"ok": True, "base": found.base, "branch": found.origin_branch},
        as_json=as_json,
        human=lambda console: console.print(f"ready: {found.base}"),
    )


@coding_agent.command(context_settings={"ignore_unknown_options": True})
@click.argument("agent")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_repository_option
@click.option("--slug", required=True, help="The end of the branch's name.")
@settings_option
@json_option
def run(
    agent: str,
    command: tuple[str, ...],
    repository: str,
    slug: str,
    directory: Path,
    as_json: bool,
) -> int:
    """Run COMMAND in a repository, on the branch agent-NAME/SLUG, under the contract.

    It may commit to that branch; it has no credentials to push. Then the configured checks look at
    the commits, what is left is stashed, and the repository is put back on its branch. Exits with 1
    where nothing can be handed in.
    """
    from agency.commandline import log_to_stderr
    from agency.errors import AgencyError
    from agency.files import private_directory
    from agency.locks import only_one
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.contract.preflight import branch_name
    from agency.workspace.contract.work import Terms, Work
    from agency.workspace.scaffold.repository import Signature

    log_to_stderr()
    found = load_agent(agent, directory)
    terms, about = found.coding_agent, found.workspace
    if terms is None or about is None:
        raise feature_off(agent, "codingAgent")
    checkout = checkout_of(found, repository)
    state = found.home / STATE
    private_directory(state)
    work = Work(
        checkout,
        Terms(
            branch=branch_name(terms.branch_prefix, slug),
            author=Signature(about.full_name, about.email),
            command=command,
            reviews=terms.reviews,
            max_reviews=terms.max_reviews,
            timeout_s=terms.max_wall_time,
        ),
        state,
    )
    busy = AgencyError("other work is done in this repository", where=str(checkout.place))
    with only_one(state / f"{repository}.lock", busy):
        summary = asyncio.run(_until_signal(work))
    emit(summary.as_dict(), as_json=as_json, human=lambda console: _print(console, summary))
    return 0 if summary.ok else 1


async def _until_signal(work: Work) -> Summary:
    """Do the work; a signal that asks to stop ends the command and leaves tidily."""
    from agency.errors import AgencyError
    from agency.signals import stop_signals

    task = asyncio.ensure_future(work.run())
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise AgencyError("stopped by a signal; what was not committed is stashed") from None


def checkout_of(found: AgentSettings, repository: str) -> Checkout:
    """Find a repository of an agent, and git."""
    from agency.programs import find_program
    from agency.workspace.config import WORKSPACE
    from agency.workspace.contract.preflight import find_repository
    from agency.workspace.contract.repository import Checkout

    git = find_program("git", hint="install git, or add it to the unit's path")
    place = find_repository(found.home / WORKSPACE / ".repos", repository)
    return Checkout(git, place, found.home)


def _print(console: Console, summary: Summary) -> None:
    console.print(f"{'good' if summary.ok else 'not to be handed in'}: {summary.branch}")
    for line in summary.commits:
        console.print(f"  {line}", markup=False)
    if summary.status != 0:
        status = "no end in time" if summary.status is None else f"exit status {summary.status}"
        console.print(f"command: {status}")
    if summary.failed_review is not None:
        console.print(f"review: {summary.failed_review}", markup=False)
    for breach in summary.breaches:
        console.print(f"breach: {breach}", markup=False)
    if summary.stash is not None:
        console.print(f"stashed: {summary.stash}")
