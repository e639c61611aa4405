"""The agent in rooms as a process: listener and answerers, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from agency.agent.programs.tools import Tools
from agency.agent.recording import Recorder
from agency.agent.rooms.answering import Answerer, Record, unrecorded
from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.events.contents import transaction
from agency.agent.rooms.homeserver import Homeserver
from agency.agent.rooms.inbox import Inbox, Work
from agency.agent.rooms.listening import Listener, Policy
from agency.agent.rooms.program import BuiltinProgram, Program
from agency.agent.rooms.sending import SendMessage
from agency.agent.rooms.timers import Timers
from agency.agent.rooms.voice import Voice
from agency.clock import Clock, new_id
from agency.errors import AgencyError
from agency.files import is_absent
from agency.matrix import MatrixSession, client_session
from agency.protocols import AuditClient
from agency.secrets import read_credential
from agency.signals import stop_signals

_LOOK_S = 0.2

_log = logging.getLogger(__name__)


async def chat(config: ChatConfig, clock: Clock, program: Program | None = None) -> None:
    """Answer in rooms until a signal asks to stop; what is under way goes on at the next start.

    Raises:
        PrerequisiteError: a credential, the inbox or the account's token is missing or refused.
        AgencyError: the Gosuto cannot be read.
    """
    token = read_credential(config.credential)
    policy = Policy(config.gosuto, config.agent)
    while config.waits and is_absent(config.gosuto):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(_LOOK_S)
    policy.read()
    worker = program or _program(config, clock)
    place = None if config.homeserver_socket is None else str(config.homeserver_socket)
    async with client_session(place) as http, _recording(config) as record:
        homeserver = Homeserver(MatrixSession(config.homeserver, http, token.reveal()), config.user)
        with Inbox(config.state) as inbox:
            desk = make_desk(config, homeserver, inbox, policy, clock, worker, record)
            running = asyncio.ensure_future(desk.run())
            for number in stop_signals():
                asyncio.get_running_loop().add_signal_handler(number, running.cancel)
            try:
                await running
            except asyncio.CancelledError:
                _log.info("stopped", extra={"fields": {"agent": config.agent}})


def _program(config: ChatConfig, clock: Clock) -> Program:
    """Choose the program; raises PrerequisiteError without its token."""
    token = read_credential(config.model.credential)
    if config.command is None:
        return BuiltinProgram(config, token, clock)
    from agency.agent.rooms.own_agent import OwnAgent  # only such an agent needs it

    return OwnAgent(config, config.command, Path(os.environ["CREDENTIALS_DIRECTORY"]))


@asynccontextmanager
async def _recording(config: ChatConfig) -> AsyncIterator[Record]:
    """Open the way to the agents' audit log, if the machine keeps one."""
    if config.audit_socket is None:
        yield unrecorded
        return
    async with Recorder(AuditClient(config.audit_socket)) as recorder:
        yield lambda event, detail: recorder.put(event, **detail)


def make_desk(
    config: ChatConfig,
    homeserver: Homeserver,
    inbox: Inbox,
    policy: Policy,
    clock: Clock,
    program: Program,
    record: Record = unrecorded,
) -> Desk:
    """Put the parts together."""
    voice = Voice(homeserver, inbox, policy.current, clock)
    tools = partial(_tools, config, voice)
    answerer = Answerer(config, inbox, voice, program, tools, record=record)
    return Desk(config, homeserver, inbox, policy, clock, answerer)


def _tools(config: ChatConfig, voice: Voice, work: Work) -> Tools:
    """Return the tools of one task; a message to a peer has one hop less than what caused it."""
    left = config.hops if work.hops is None else work.hops - 1

    async def post(room: str, content: Mapping[str, Any]) -> bool:
        txn = transaction(new_id("message"), "sent")
        return await voice.say_now(room, content, txn) is not None

    hops = left if config.envelopes else 0
    return SendMessage(voice.document, config.user, hops, partial(new_id, "env"), post)


@dataclass(slots=True)
class Desk:
    """Listener, and the tasks that answer: one for each thread, `at_once` at most."""

    config: ChatConfig
    homeserver: Homeserver
    inbox: Inbox
    policy: Policy
    clock: Clock
    answerer: Answerer
    _tasks: dict[str, tuple[Work, asyncio.Task[None]]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Listen and answer; the first failure of a part ends all."""
        await self.homeserver.check()
        fields = {"agent": self.config.agent, "user": self.config.user}
        _log.info("listening", extra={"fields": fields})
        listener = Listener(
            self.config,
            self.homeserver,
            self.inbox,
            self.policy,
            self.clock,
            self.take_back,
            self._wake,
        )
        timers = Timers(self.config.oldest_s, self.inbox, self.policy, self.clock, self._wake)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(listener.listen())
                group.create_task(timers.run())
                await self._dispatch(group)
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._has_policy():
                continue  # the listener wakes it when the policy can be read again
            for work in self.inbox.open_work():
                busy = {(each.room, each.root) for each, _ in self._tasks.values()}
                if len(self._tasks) >= self.config.at_once:
                    break
                if (work.room, work.root) not in busy:
                    task = group.create_task(self.answerer.answer(work))
                    self._tasks[work.event_id] = work, task
                    task.add_done_callback(partial(self._ended, work.event_id))

    def _has_policy(self) -> bool:
        try:
            self.policy.read()
        except AgencyError as error:
            _log.warning("no policy, no work", extra={"fields": {"why": error.message}})
            return False
        return True

    def _ended(self, event_id: str, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(event_id, None)
        self._wake.set()

    def take_back(self, event_id: str) -> None:
        """Interrupt what a deleted message asked for; the inbox says already that it ends."""
        running = self._tasks.get(event_id)
        if running is not None:
            running[1].cancel()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found = failures.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
