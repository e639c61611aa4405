"""Ends of programs whose output nobody reads any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from agency.ending import ended
from agency.machine import process as machine_process
from agency.machine.machine import MachineError

_PIPE = asyncio.subprocess.PIPE
FLOOD = "import sys, time; sys.stdout.write('x' * 8_000_000); sys.stdout.flush(); time.sleep(60)"
# A child that keeps standard output, and the end of its parent; it says its pid.
LEAVES_A_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@contextlib.asynccontextmanager
async def running(code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=_PIPE, stdout=_PIPE, stderr=_PIPE, limit=1000
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await ended(process)


async def fills_its_pipe(process: asyncio.subprocess.Process) -> None:
    """Wait until asyncio has read what it takes, and the program waits to write the rest."""
    with contextlib.suppress(asyncio.LimitOverrunError):
        assert process.stdout is not None
        await process.stdout.readuntil(b"\n")
    await asyncio.sleep(0.3)


async def test_a_killed_program_ends_though_its_pipe_is_full() -> None:
    async with running(FLOOD) as process:
        await fills_its_pipe(process)
        process.kill()
        async with asyncio.timeout(30):
            assert await ended(process) == -signal.SIGKILL


async def test_a_killed_program_ends_though_its_child_holds_its_pipes() -> None:
    async with running(LEAVES_A_CHILD) as process:
        assert process.stdout is not None
        child = int(await process.stdout.readuntil(b"\n"))
        try:
            process.kill()
            async with asyncio.timeout(30):
                assert await ended(process) == -signal.SIGKILL
        finally:
            os.kill(child, signal.SIGKILL)
        assert await process.stdout.read() == b""
        await process.wait()


async def test_a_program_that_ended_by_itself_has_its_own_status() -> None:
    async with running("raise SystemExit(7)") as process:
        assert await ended(process) == 7


async def test_a_dialogue_ends_with_a_program_that_floods_it() -> None:
    argv = (sys.executable, "-c", FLOOD)
    async with asyncio.timeout(30):
        async with machine_process.dialogue(argv, os.environ, "flood") as talk:
            with pytest.raises(MachineError, match="too long"):
                await talk.ask(b"a word", timeout_s=20)
            await asyncio.sleep(0.3)
