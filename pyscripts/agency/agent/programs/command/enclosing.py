"""Network of a command-line agent: a namespace of its own, where two ports lead to two sockets.

    agent ─▶ 127.0.0.1:PORT ── this process ──▶ socket of the gateway, or the way to the proxy
      └────▶ anything else: unreachable

Sockets in the file system are reached from every network namespace; who may use these is decided by
tokens. The agent dies with this process, and gets no right that it has not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from agency import ports, quarantine
from agency.agent.programs.command.launching import LaunchError
from agency.agent.programs.command.starting import Prepared
from agency.children import MARKER_VARIABLE
from agency.errors import PrerequisiteError
from agency.piping import both_ways
from agency.programs import find_program

_MAX_CONNECTIONS = 32
_CONNECT_S = 5.0
_NO_RIGHTS = ("--bounding-set=-all", "--inh-caps=-all")  # root needs them taken away


def run_enclosed(prepared: Prepared, ways: Mapping[int, Path]) -> int:
    """Run an agent in a network of its own until its end; return its exit status.

    Raises:
        PrerequisiteError: the kernel gives no namespace: nothing is started.
        LaunchError: the program cannot be run.
    """
    entered = quarantine.enter()
    if entered.mode == "none":
        raise PrerequisiteError(
            f"the agent gets no network of its own, and is not started: {entered.reason}",
            hint="allow user namespaces, or run it in the runtime docker",
        )
    return asyncio.run(_run(prepared, ways))


async def _run(prepared: Prepared, ways: Mapping[int, Path]) -> int:
    setpriv = find_program("setpriv", hint="install util-linux")
    rights = _NO_RIGHTS if os.geteuid() == 0 else ()
    argv = (setpriv, "--pdeathsig=KILL", "--no-new-privs", *rights, "--", *prepared.argv)
    marked = {key: os.environ[key] for key in (MARKER_VARIABLE,) if key in os.environ}
    async with AsyncExitStack() as stack:
        free = asyncio.Semaphore(_MAX_CONNECTIONS)
        for port, path in ways.items():
            passing = partial(_pass, path, free)
            server = await asyncio.start_server(passing, ports.LOOPBACK, port)
            stack.callback(server.close)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=prepared.launch.directory, env={**prepared.environment, **marked}
            )
        except OSError as error:
            raise LaunchError(
                f"the program cannot be run: {error.strerror}", where=prepared.argv[0]
            ) from None
        return await process.wait()


async def _pass(
    path: Path,
    free: asyncio.Semaphore,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    with contextlib.closing(writer):
        async with free:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    there = await asyncio.open_unix_connection(path)
            except (OSError, TimeoutError):
                return  # closed without an answer, as by a server that is away
            with contextlib.closing(there[1]):
                await both_ways((reader, writer), there)
