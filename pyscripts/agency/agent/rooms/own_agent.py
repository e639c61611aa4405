"""Program behind the rooms that is a command-line agent, started anew for each assignment.

    assignment ─▶ agency agent command ─▶ the agent, in a network of its own ─▶ answer
                       │ gateway's socket: as it is
                       └ way to the proxy: a socket of this process, that leads to its port
    or, kept apart in a container or unit of its own:
    assignment ─▶ its host (programs/command/hosting.py) ─▶ the agent ─▶ answer

It keeps no journal: after an interruption it begins again, and is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from agency.agent.programs.command.apart import run_apart
from agency.agent.programs.command.handing import GATEWAY_URL, MODEL_URL
from agency.agent.programs.command.registry import AGENTS
from agency.agent.programs.prompting import system_prompt
from agency.agent.programs.tools import Tools
from agency.agent.rooms.config import ChatConfig, CommandApart, CommandProgram
from agency.agent.rooms.program import Assignment, Tell, task_text
from agency.children import MARKER_VARIABLE
from agency.ending import ended
from agency.errors import AgencyError, PrerequisiteError
from agency.files import write_atomically
from agency.gosuto import Document
from agency.piping import Line, both_ways

MAX_OUTPUT = 16 * 1024 * 1024
_MAX_ERRORS = 64 * 1024
_GRACE_S = 2.0
_CONNECT_S = 5.0
_PASSED = ("PATH", "LANG", "HOME", MARKER_VARIABLE)
_AGAIN = (
    "You were interrupted while you worked on this, and begin again. Some of it may have been "
    "done: look at what is there before you do anything twice."
)

_log = logging.getLogger(__name__)


class OwnAgentError(AgencyError):
    """End of a command-line agent without an answer."""


@dataclass(frozen=True, slots=True)
class OwnAgent:
    """Command-line agent; it is offered the gateway's tools, and none of the rooms."""

    config: ChatConfig
    command: CommandProgram | CommandApart
    credentials: Path

    async def work(self, asked: Assignment, document: Document, _tools: Tools, _tell: Tell) -> str:
        """Run the agent to its end and return its answer.

        Raises:
            AgencyError: it cannot be started, ends without an answer, or takes too long.
        """
        begun = self._begun(asked)
        texts = [system_prompt(document), *([_AGAIN] if begun.exists() else []), task_text(asked)]
        model, task = self._model(document), "\n\n".join(texts)
        begun.touch(mode=0o600)
        try:
            async with asyncio.timeout(self.config.wall_s):
                if isinstance(self.command, CommandApart):
                    return self._answer(*await self._hand_over(self.command, model, task))
                config = self._write(self.command, asked, model)
                async with self._models_door(asked):
                    return self._answer(*await self._run(config, task))
        except TimeoutError:
            raise OwnAgentError(f"no answer after {self.config.wall_s:g} s") from None

    def forget(self, asked: Assignment) -> None:
        """Remove what was kept of an assignment."""
        for path in (self._begun(asked), self._config_file(asked)):
            path.unlink(missing_ok=True)

    def _begun(self, asked: Assignment) -> Path:
        return self.config.state / f"{asked.trace}.begun"

    def _config_file(self, asked: Assignment) -> Path:
        return self.config.state / f"{asked.trace}.command.json"

    def _model(self, document: Document) -> str:
        model, gateway = document.persona.model or self.config.default_model, self.config.gateway
        if model is None or gateway is None or gateway.socket is None:
            raise PrerequisiteError(
                "a command-line agent needs a model, and a gateway at a socket",
                where="persona.model, gateway.socket",
            )
        return model

    async def _hand_over(
        self, command: CommandApart, model: str, task: str
    ) -> tuple[int, bytes, bytes]:
        """Have it run by its host; the ways to proxy and gateway are this process's."""
        config = self.config
        assert config.gateway is not None
        assert config.gateway.socket is not None
        tools = partial(asyncio.open_unix_connection, config.gateway.socket)
        ways = (self._connect_model, tools)
        return await run_apart(command.socket, model, task, ways, (MAX_OUTPUT, _MAX_ERRORS))

    async def _connect_model(self) -> Line:
        model = self.config.model
        if model.socket is not None:
            return await asyncio.open_unix_connection(model.socket)
        parts = urlsplit(model.url)
        return await asyncio.open_connection(parts.hostname, parts.port)

    def _write(self, command: CommandProgram, asked: Assignment, model: str) -> Path:
        """Write the configuration of `agency agent command`."""
        config, gateway = self.config, self.config.gateway
        assert gateway is not None
        told = {
            "agent": command.agent,
            "program": [str(part) for part in command.program],
            "modelUrl": MODEL_URL,
            "modelSocket": str(self._model_socket(asked)),
            "model": model,
            "modelToken": str(self.credentials / config.model.credential),
            "gatewayUrl": GATEWAY_URL,
            "gatewaySocket": str(gateway.socket),
            "gatewayToken": str(self.credentials / gateway.credential),
            "ownTools": command.own_tools.value,
            "workspace": str(command.workspace),
            "state": str(command.state),
        }
        file = self._config_file(asked)
        write_atomically(file, json.dumps(told).encode(), mode=0o600)
        return file

    def _model_socket(self, asked: Assignment) -> Path:
        """Socket of the proxy; that of the door is named from here: its path must be short."""
        door = self.config.state / f"{asked.trace}.sock"
        return self.config.model.socket or Path(os.path.relpath(door))

    @asynccontextmanager
    async def _models_door(self, asked: Assignment) -> AsyncIterator[None]:
        """Lead a socket to the proxy's port, if that listens at no socket."""
        if self.config.model.socket is not None:
            yield
            return

        async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    there = await self._connect_model()
                with contextlib.closing(there[1]):
                    await both_ways((reader, writer), there)

        path = self._model_socket(asked)
        path.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(passing, path):
            yield
        path.unlink(missing_ok=True)

    async def _run(self, config: Path, task: str) -> tuple[int, bytes, bytes]:
        argv = (sys.executable, "-I", "-m", "agency", "agent", "command", "--config", str(config))
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        try:
            output, errors, _ = await asyncio.gather(
                _read(process.stdout, MAX_OUTPUT),
                _read(process.stderr, _MAX_ERRORS),
                _give(process, task),
            )
            status = await process.wait()
        finally:
            await _end(process)
        return status, output, errors

    def _answer(self, status: int, output: bytes, errors: bytes) -> str:
        if status == 0:
            try:
                return AGENTS[self.command.agent].answer(output.decode(errors="replace"))
            except (ValueError, KeyError, TypeError) as error:
                raise OwnAgentError(f"{self.command.agent} gave no answer: {error}") from error
        _log.warning(
            "the agent failed",
            extra={"fields": {"status": status, "said": errors.decode(errors="replace")[-2000:]}},
        )
        raise OwnAgentError(f"{self.command.agent} ended with status {status}")


async def _give(process: asyncio.subprocess.Process, task: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(task.encode(errors="replace"))
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Read to the end; raises OwnAgentError beyond a bound."""
    assert stream is not None
    kept = bytearray()
    while chunk := await stream.read(64 * 1024):
        kept += chunk
        if len(kept) > most:
            raise OwnAgentError(f"it wrote more than {most} bytes")
    return bytes(kept)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a session: SIGTERM, then SIGKILL to all of it."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await ended(process)
        os.killpg(process.pid, signal.SIGKILL)
    await ended(process)
