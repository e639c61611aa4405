"""Commands that serve an agent's tools to its gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.workspace.options import settings_option


@click.group()
def serve() -> None:
    """Serve tools to an agent's gateway, by MCP over standard streams."""


@serve.command()
@click.argument("agent")
@click.option(
    "--repository", required=True, metavar="NAME", help="A repository below ~/agent-space/.repos."
)
@settings_option
def coding(agent: str, repository: str, directory: Path) -> None:
    """Serve files, checks and commits of one repository of AGENT, under the coding contract.

    Every task has a branch of its own. No tool pushes, changes another branch or runs a command
    that is not configured.
    """
    from agency.commandline import log_to_stderr
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.contract.commands import STATE, checkout_of
    from agency.workspace.servers.coding import Coding, serve_coding

    log_to_stderr()
    found = load_agent(agent, directory)
    if found.coding_agent is None or found.workspace is None:
        raise feature_off(agent, "codingAgent")
    checkout = checkout_of(found, repository)
    made = Coding(checkout, found.coding_agent, found.workspace, found.home / STATE)
    asyncio.run(serve_coding(made))


@serve.command()
@click.option("--kind", type=click.Choice(["gitea", "gitlab"]), required=True, help="Its kind.")
@click.option("--url", required=True, help="Its address, such as https://git.example.org")
@click.option("--project", required=True, metavar="GROUP/NAME", help="The one project.")
@click.option("--agent", help="With --repository: whose branches are handed in, agent-AGENT/...")
@click.option("--repository", metavar="NAME", help="The repository that they are in.")
@settings_option
def forge(
    kind: str, url: str, project: str, agent: str | None, repository: str | None, directory: Path
) -> None:
    """Serve issues of one project of a forge, and with --agent the handing in of its branches.

    The forge's token is in the variable FORGE_TOKEN, where a gateway puts the secret that the
    Gosuto names.
    """
    from agency.commandline import log_to_stderr
    from agency.errors import UsageError
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.contract.commands import checkout_of
    from agency.workspace.servers.forging import Checkout
    from agency.workspace.servers.opening import serve_forge

    log_to_stderr()
    checkout = None
    if agent is not None and repository is not None:
        found = load_agent(agent, directory)
        if found.coding_agent is None:
            raise feature_off(agent, "codingAgent")
        place = checkout_of(found, repository).place
        checkout = Checkout(place, found.coding_agent.branch_prefix)
    elif agent is not None or repository is not None:
        raise UsageError("--agent and --repository belong together")
    asyncio.run(serve_forge(kind, url, project, checkout))


@serve.command("browser")
@click.argument("agent")
@settings_option
def browser_(agent: str, directory: Path) -> None:
    """Serve the tools of AGENT's browser, by Playwright's MCP server (playwright-mcp on the PATH).

    It drives the browser that `agency workspace browser` runs; what it saves goes to the downloads
    of the workspace.
    """
    import os

    from agency.workspace.browser.launching import places_of
    from agency.workspace.config import feature_off, load_agent
    from agency.workspace.servers.browsing import become_server

    found = load_agent(agent, directory)
    if found.browser is None:
        raise feature_off(agent, "browser")
    become_server(places_of(found, found.browser), os.environ)
