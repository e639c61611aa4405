"""Program behind the rooms: takes what is asked, and returns the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agency.agent.models.client import Endpoint, ModelClient
from agency.agent.programs.builtin import Run
from agency.agent.programs.journal import Journal
from agency.agent.programs.steps import Ending, Finish
from agency.agent.programs.tools import Outcome, Tool, Tools
from agency.agent.programs.work import WorkConfig, settings_of, tools_of
from agency.agent.rooms.config import ChatConfig
from agency.canonical import sha256_hex
from agency.clock import Clock
from agency.gosuto import Document
from agency.secrets import SecretValue

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Thing that is asked: by `sender`, in the thread of `root`; `trace` is the same each time.

    `is_task` is one of the agent's task list, whose text says that. `timer` is the one of the
    Gosuto that asks; nobody said it then.
    """

    event_id: str
    room: str
    root: str
    sender: str
    text: str
    protocol: str | None = None
    timer: str | None = None
    is_task: bool = False

    @property
    def trace(self) -> str:
        """Trace id of all that is done for it."""
        return "msg-" + sha256_hex(self.event_id.encode(errors="surrogatepass"))[:16]


class Program(Protocol):
    """Worker on assignments."""

    async def work(self, asked: Assignment, document: Document, tools: Tools, tell: Tell) -> str:
        """Return the answer; `tell` takes the text so far, as often as it likes.

        After an interruption it is called again with the same assignment.

        Raises:
            AgencyError: it cannot work; the message is told to whoever asked.
        """

    def forget(self, asked: Assignment) -> None:
        """Remove what was kept to go on after an interruption."""


@dataclass(frozen=True, slots=True)
class BothTools:
    """Tools of the rooms, and those behind the gateway; a name of the rooms is theirs alone."""

    own: Tools
    gateway: Tools

    async def list(self) -> tuple[Tool, ...]:
        """Return the tools of both."""
        own = await self.own.list()
        names = {tool.name for tool in own}
        return (*own, *(tool for tool in await self.gateway.list() if tool.name not in names))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool where it is."""
        mine = name in {tool.name for tool in await self.own.list()}
        return await (self.own if mine else self.gateway).call(name, arguments)


@dataclass(frozen=True, slots=True)
class BuiltinProgram:
    """The builtin program, with a journal for each assignment; its token is the proxy's."""

    config: ChatConfig
    token: SecretValue
    clock: Clock

    async def work(self, asked: Assignment, document: Document, tools: Tools, tell: Tell) -> str:
        """Run the loop between model and tools until its end."""
        config, address = self._config(), self.config.model
        settings = settings_of(config, document)
        socket = None if address.socket is None else str(address.socket)
        pieces: list[str] = []

        def on_text(piece: str) -> None:
            pieces.append(piece)
            tell("".join(pieces))

        async with ModelClient(Endpoint(address.url, self.token, address.format, socket)) as model:
            with Journal(self._journal(asked)) as journal:
                both = BothTools(tools, tools_of(config))
                run = Run(settings, model, both, journal, self.clock, on_text)
                return said(await run.run(task_text(asked)))

    def forget(self, asked: Assignment) -> None:
        """Remove the journal."""
        self._journal(asked).unlink(missing_ok=True)

    def _journal(self, asked: Assignment) -> Path:
        return self.config.state / f"{asked.trace}.journal"

    def _config(self) -> WorkConfig:
        config = self.config
        return WorkConfig(
            gosuto=config.gosuto,
            model=config.model,
            gateway=config.gateway,
            default_model=config.default_model,
            max_tokens=config.max_tokens,
            turns=config.turns,
            wall_s=config.wall_s,
            errors=config.errors,
        )


def task_text(asked: Assignment) -> str:
    """Write an assignment as the task of the program. Pure."""
    if asked.is_task:
        return asked.text
    who = f"{asked.sender} asks in a room:"
    if asked.timer is not None:
        who = f"Your timer {asked.timer} is due. Your answer is said in the room by itself:"
    elif asked.protocol is not None:
        who = f"The agent {asked.sender} says by the protocol {asked.protocol}:"
    return f"{who}\n\n{asked.text}"


def said(end: Finish) -> str:
    """Write the end of a run as an answer. Pure."""
    if end.ending is Ending.ANSWERED:
        return end.said
    if end.ending is Ending.CUT:
        return f"{end.said}\n[the answer reached its limit of tokens]"
    return f"Not done ({end.ending.value}): {end.said}"
