"""Host of a command-line agent that is kept apart from its account in rooms.

    account ── packets (handing.py) ──▶ host ─▶ the agent, for one task at a time
                                          └──── ports of loopback: open, handed to the account

It runs where nothing but loopback is reached: in a container without a network, or in a unit with
one of its own. What the agent leaves behind is ended with the task. Of the account and the gateway
it holds the two tokens that its configuration names, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from agency import orphans, ports, quarantine
from agency.agent.programs.command.handing import (
    GATEWAY_PORT,
    GATEWAY_URL,
    MODEL_PORT,
    MODEL_URL,
    HandingError,
    Packet,
    receive,
    send,
)
from agency.agent.programs.command.launching import OwnTools
from agency.agent.programs.command.starting import CommandConfig, prepare
from agency.children import MARKER_VARIABLE
from agency.errors import AgencyError, PrerequisiteError
from agency.listening import listen
from agency.settings import Written
from agency.signals import stop_signals
from agency.unix_sockets import listen_at, peer_of

_FIRST_S = 5.0  # for the packet of who connected
_CALLERS = 16
_SHELL, _PAGE = "/bin/sh", "docs/bring-your-own-agent.md"
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin")  # the image's PATH names its own directory alone
_OPEN_TO_ALL = 0o666  # callers are known by their user

_log = logging.getLogger(__name__)


class HostConfig(Written):
    """Configuration of a host; it holds no secret, but names the files of two.

    `listen` is the socket where tasks are handed over, by the user `caller` or else by its own.
    """

    agent: str = Field(max_length=64)
    program: tuple[Path, ...] = Field(min_length=1, max_length=2)
    model_token: Path
    gateway_token: Path
    own_tools: OwnTools
    workspace: Path
    state: Path
    listen: Path
    caller: str | None = Field(default=None, max_length=32)

    def command(self, model: str) -> CommandConfig:
        """Return how the agent is started for a task."""
        given = self.model_dump(exclude={"listen", "caller"})
        return CommandConfig(**given, model=model, model_url=MODEL_URL, gateway_url=GATEWAY_URL)


async def serve(config: HostConfig) -> None:
    """Start the agent for each task that is handed over, until a signal asks to stop.

    Raises:
        PrerequisiteError: more than loopback is reached from here, or a place cannot be used.
    """
    _check_network()
    orphans.adopt()
    caller = _uid_of(config.caller)
    running = asyncio.ensure_future(_accept(config, caller))
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await orphans.end_orphans(())


def _check_network() -> None:
    reached = [each for each in quarantine.attempt_outbound() if each.outcome != "unreachable"]
    if reached:
        raise PrerequisiteError(
            f"more than loopback is reached from here ({reached[0].destination})",
            hint="run it in a container without a network, or in a unit with PrivateNetwork=yes",
        )


def _uid_of(name: str | None) -> int:
    if name is None:
        return os.geteuid()
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise PrerequisiteError("there is no such user", where=name) from None


async def _accept(config: HostConfig, caller: int) -> None:
    loop = asyncio.get_running_loop()
    hint = "make its directory, for the host's user alone to write"
    kind = socket.SOCK_SEQPACKET
    listening = listen_at(config.listen, hint=hint, mode=_OPEN_TO_ALL, backlog=_CALLERS, kind=kind)
    with listening as here, _ports() as handed:
        desk = _Desk(config, handed)
        _log.info("listening", extra={"fields": {"agent": config.agent}})
        async with asyncio.TaskGroup() as group:
            while True:
                there, _ = await loop.sock_accept(here)
                if peer_of(there).uid != caller or len(desk.callers) >= _CALLERS:
                    there.close()
                    continue
                desk.take(group.create_task(desk.work(there)))


@contextmanager
def _ports() -> Iterator[tuple[int, int]]:
    with listen(MODEL_PORT, ports.LOOPBACK) as model, listen(GATEWAY_PORT, ports.LOOPBACK) as tools:
        yield model.fileno(), tools.fileno()


@dataclass(slots=True)
class _Desk:
    """Tasks that are handed over: one is worked on, others wait."""

    config: HostConfig
    handed: tuple[int, int]
    callers: set[asyncio.Task[None]] = field(default_factory=set)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, task: asyncio.Task[None]) -> None:
        """Count a caller until its task ends."""
        self.callers.add(task)
        task.add_done_callback(self.callers.discard)

    async def work(self, there: socket.socket) -> None:
        """Work on what one caller hands over, and tell it how that ended."""
        there.setblocking(False)
        with there:
            try:
                async with asyncio.timeout(_FIRST_S):
                    asked = await receive(there)
                try:
                    async with self._turn:
                        told = await self._run(there, asked)
                finally:
                    asked.close()
                send(there, told)
            except (HandingError, TimeoutError) as error:
                _log.info("a task was given up", extra={"fields": {"why": str(error)}})

    async def _run(self, there: socket.socket, asked: Packet) -> dict[str, object]:
        if self.config.own_tools is OwnTools.CONFINED and not os.access(_SHELL, os.X_OK):
            return {"error": f"there is no {_SHELL} here for its own tools; see {_PAGE}"}
        if len(asked.descriptors) != 3 or not isinstance(asked.told.get("model"), str):
            return {"error": "what was handed over is no task"}
        send(there, {"ready": True}, self.handed)
        try:
            prepared = prepare(self.config.command(asked.told["model"]), _environment())
            marked = {key: os.environ[key] for key in (MARKER_VARIABLE,) if key in os.environ}
            given, said, errors = asked.descriptors
            process = await asyncio.create_subprocess_exec(
                *prepared.argv,
                cwd=prepared.launch.directory,
                env={**prepared.environment, **marked},
                stdin=given,
                stdout=said,
                stderr=errors,
                start_new_session=True,
            )
        except AgencyError as error:
            return {"error": f"{error.where}: {error.message}" if error.where else error.message}
        except OSError as error:
            return {"error": f"the program cannot be run: {error.strerror}"}
        asked.close()
        return {"status": await _ended(process, there)}


def _environment() -> dict[str, str]:
    """Return this process's, with the usual places of programs that its shell may call."""
    places = dict.fromkeys((*os.environ.get("PATH", "").split(":"), *_PLACES))
    return {**os.environ, "PATH": ":".join(each for each in places if each)}


async def _ended(process: asyncio.subprocess.Process, there: socket.socket) -> int:
    """Wait for the agent's end, or its caller's; then end what it left."""
    gone = asyncio.ensure_future(receive(there))
    end = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait((gone, end), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        with contextlib.suppress(HandingError, asyncio.CancelledError):
            (await gone).close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = await end
        await orphans.end_orphans(())
    return status
