"""Commands of an agent's browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agency.commandline import json_option
from agency.workspace.options import settings_option


@click.command()
@click.argument("agent")
@settings_option
@json_option
def browser(agent: str, directory: Path, as_json: bool) -> None:  # noqa: ARG001 - the root prints errors by it
    """Run AGENT's browser until SIGTERM: a Chromium whose profile lasts, started again if it ends.

    It opens no port: `agency workspace serve browser`, which the agent's gateway starts, reaches it
    at a socket of the agent's own.
    """
    from agency.commandline import log_to_stderr
    from agency.workspace.browser.launching import places_of
    from agency.workspace.browser.running import run_browser
    from agency.workspace.config import feature_off, load_agent

    log_to_stderr()
    found = load_agent(agent, directory)
    if found.browser is None:
        raise feature_off(agent, "browser")
    asyncio.run(run_browser(found, found.browser, places_of(found, found.browser)))
