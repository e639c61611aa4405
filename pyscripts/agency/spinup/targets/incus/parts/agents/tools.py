"""Tool server in a guest: a developer's tools on one small repository, by MCP over its streams.

Real parts: files, the interpreter that runs the test, and git. It works as the agent. `prepare`
makes the repository, whose test fails.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = "calculator"
_BROKEN = "def add(left, right):\n    return left - right\n"
_TEST = """import unittest

from calculator import add


class Adding(unittest.TestCase):
    def test_two_and_two(self):
        self.assertEqual(add(2, 2), 4)
"""
_GIT = "/usr/bin/git"
_TIME_S = 30
_TEXT = {"type": "string", "maxLength": 4000}
_TOOLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "test": ("Run the tests of the repository.", {}),
    "write": ("Write a file of the repository.", {"path": _TEXT, "text": _TEXT}),
    "branch": ("Commit on a branch of its own.", {"slug": _TEXT, "message": _TEXT}),
    "push": ("Push to the branch main.", {}),
}


def prepare(home: Path) -> None:
    """Make the repository below a home, with one commit."""
    place = home / REPOSITORY
    place.mkdir()
    (place / "calculator.py").write_text(_BROKEN)
    (place / "test_calculator.py").write_text(_TEST)
    _git(place, "init", "--quiet", "--initial-branch=main")
    _git(place, "add", "--all")
    _commit(place, "calculator: begin")


def call(place: Path, tool: str, arguments: Mapping[str, str]) -> str:
    """Do what a tool does; return what it says."""
    if tool == "test":
        argv = [sys.executable, "-B", "-m", "unittest"]
        done = subprocess.run(
            argv, cwd=place, capture_output=True, text=True, timeout=_TIME_S, check=False
        )
        return done.stderr[-2000:]
    if tool == "write":
        path = (place / arguments["path"]).resolve()
        if path.parent != place.resolve():
            raise ValueError("no file of the repository")
        path.write_text(arguments["text"])
        return f"written: {path.name}"
    if tool == "branch":
        name = f"{place.parent.name}/{arguments['slug']}"
        _git(place, "switch", "--quiet", "--create", name)
        _git(place, "add", "--all")
        _commit(place, arguments["message"])
        return f"committed on {name}"
    (place / "pushed").write_text("")  # it would be seen
    return "pushed"


def _commit(place: Path, message: str) -> None:
    who = place.parent.name
    named = (*("-c", f"user.name={who}"), *("-c", f"user.email={who}@localhost"))
    _git(place, *named, "commit", "--quiet", "--message", message)


def _git(place: Path, *words: str) -> None:
    argv = [_GIT, "-c", "core.hooksPath=/dev/null", *words]
    subprocess.run(argv, cwd=place, check=True, capture_output=True, timeout=_TIME_S)


def serve(place: Path) -> None:
    """Serve the tools until the streams end."""
    import asyncio

    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    server: Server[object, object] = Server("work")

    async def listed(_: types.ListToolsRequest) -> types.ServerResult:
        tools = [
            types.Tool(
                name=name,
                description=what,
                inputSchema={
                    "type": "object",
                    "properties": fields,
                    "required": sorted(fields),
                    "additionalProperties": False,
                },
            )
            for name, (what, fields) in _TOOLS.items()
        ]
        return types.ServerResult(types.ListToolsResult(tools=tools))

    async def called(request: types.CallToolRequest) -> types.ServerResult:
        arguments = request.params.arguments or {}
        text = await asyncio.to_thread(call, place, request.params.name, arguments)
        said = [types.TextContent(type="text", text=text)]
        return types.ServerResult(types.CallToolResult(content=list(said)))

    server.request_handlers[types.ListToolsRequest] = listed
    server.request_handlers[types.CallToolRequest] = called

    async def run() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    asyncio.run(run())


def main() -> None:
    """Make the repository below a home, or serve the tools on it."""
    verb, home = sys.argv[1], Path(sys.argv[2])
    if verb == "prepare":
        prepare(home)
    else:
        serve(home / REPOSITORY)


if __name__ == "__main__":
    main()
