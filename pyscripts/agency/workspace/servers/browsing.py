"""The tools of the agent's browser: Playwright's MCP server, driving the browser that runs.

This process becomes the server, so that the gateway holds and ends it as any other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.programs import find_program
from agency.workspace.browser.launching import BrowserPlaces

PROGRAM = "playwright-mcp"
# Those of the template browser-agent that do not say how a browser is started.
OPTIONS = (
    "--block-service-workers",
    "--codegen=none",
    "--image-responses=omit",
    "--output-max-size=67108864",
)
_SOCKETS = "PWTEST_SOCKETS_DIR"  # below the working directory: a whole path may be too long


def arguments_of(places: BrowserPlaces) -> list[str]:
    """Return the arguments of the server. Pure."""
    endpoint = f"ws+unix://{places.socket}:/"
    return [f"--cdp-endpoint={endpoint}", f"--output-dir={places.downloads}", *OPTIONS]


def become_server(places: BrowserPlaces, environment: Mapping[str, str]) -> None:
    """Become the server.

    Raises:
        PrerequisiteError: it is not installed, or the agent's browser does not run.
    """
    program = find_program(PROGRAM, hint="install playwright-mcp (docs/templates.md)")
    if not places.socket.is_socket():
        raise PrerequisiteError(
            "the agent's browser does not run",
            where=str(places.socket),
            hint="`agency workspace browser AGENT` runs it; its unit is agency-agent-browser@AGENT",
        )
    sockets = environment.get(_SOCKETS, "sockets")
    told = {**environment, _SOCKETS: sockets}
    Path(sockets).mkdir(mode=0o700, exist_ok=True)
    os.execve(program, [PROGRAM, *arguments_of(places)], told)  # noqa: S606 - no shell is wanted
