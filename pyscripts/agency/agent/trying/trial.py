"""Trial: tasks of a person, each worked on by the builtin program, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agency.agent.models.client import ModelClient
from agency.agent.programs.builtin import Run
from agency.agent.programs.journal import Journal
from agency.agent.programs.steps import Ending, Finish
from agency.agent.programs.tools import Tools
from agency.agent.programs.work import ModelAddress, WorkConfig, settings_of
from agency.agent.rooms.program import BothTools
from agency.agent.rooms.sending import SendMessage
from agency.agent.trying.asking import answer_questions
from agency.agent.trying.plan import PERSON, model_name
from agency.agent.trying.stage import Cast, Stage, staged
from agency.agent.trying.terminal import Terminal
from agency.agent.trying.watching import OwnTools, Watch, WatchedTools
from agency.clock import Clock, new_id
from agency.gosuto import Answer, Document, sha256
from agency.protocols import GatewayServer

PROMPT = "> "
_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """A task and its end."""

    task: str
    ending: str
    text: str


@dataclass(slots=True)
class Trial:
    """A trial with one agent."""

    cast: Cast
    terminal: Terminal
    clock: Clock
    watch: Watch = field(init=False)
    ended: list[Task] = field(default_factory=list)
    servers: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        self.watch = Watch(self.terminal)

    async def run(self, place: Path, tasks: Sequence[str]) -> None:
        """Work on the tasks, or on those that the person types, until their end.

        Raises:
            AgencyError: a part cannot start.
        """
        self.terminal.show(f"{self._agent} (Gosuto {sha256(self.cast.document)[:16]}…)", "bold")
        self.terminal.fields([("model", self._model())])
        async with staged(self.cast, place, self.clock, self.watch) as stage:
            await self._show(stage)
            asking = asyncio.create_task(
                answer_questions(stage.gateway, self.terminal, self.watch), name="asking"
            )
            try:
                async for task in self._tasks(tasks):
                    await self._work(stage, place, task, asking)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    @property
    def _agent(self) -> str:
        return self.cast.document.metadata.name

    def _model(self) -> str:
        real = self.cast.real
        if real is None:
            return "scripted: the answers of a file, no language model"
        return f"{real.name} at {real.url}"

    async def _show(self, stage: Stage) -> None:
        """Show the servers, and the tools that the program is offered."""
        rows = [("server", _server(each, self.cast.document)) for each in stage.servers]
        self.servers = tuple(
            {"name": each.name, "health": each.health, "reason": each.reason, "tools": each.tools}
            for each in stage.servers
        )
        listed = [each.full for each in stage.gateway.dispatcher.listed()]
        listed += [each.name for each in await self._own_tools(self.cast.document).list()]
        self.terminal.fields([*rows, ("tools", ", ".join(listed) or "none")])

    async def _tasks(self, given: Sequence[str]) -> AsyncIterator[str]:
        for each in given:
            self.terminal.brief(f"{PROMPT}{each}", "bold")
            yield each
        if given:
            return
        if self.cast.real is None and self.cast.script.task:
            self.terminal.fields([("try", self.cast.script.task)])
        self.terminal.show("Each line is a task of its own. Ctrl-D ends.", "dim")
        while (line := await self.terminal.ask(PROMPT)) is not None:
            if line.strip():
                yield line.strip()
        self.terminal.show("")

    async def _work(self, stage: Stage, place: Path, task: str, asking: asyncio.Task[None]) -> None:
        journal = place / f"task-{len(self.ended) + 1}.journal"
        document = self.cast.document
        config = WorkConfig(
            gosuto=place / "gateway" / "policy.json",
            journal=journal,
            model=ModelAddress(url=stage.model.url),
            default_model=model_name(document, self.cast.real),
            errors=_ERRORS,
        )
        tools = WatchedTools(BothTools(self._own_tools(document), stage.tools), self.terminal)
        async with ModelClient(stage.model) as model:
            with Journal(journal) as kept:
                run = Run(settings_of(config, document), model, tools, kept, self.clock)
                end = await _unless_over(asyncio.create_task(run.run(task)), asking)
        self.ended.append(Task(task, end.ending.value, end.said))
        if end.ending is Ending.ANSWERED:
            self.terminal.show(f"{self._agent}: {end.said}")
        else:
            self.terminal.show(f"not done ({end.ending.value}): {end.said}", "red")

    def _own_tools(self, document: Document) -> Tools:
        async def post(room: str, content: Mapping[str, Any]) -> bool:
            self.terminal.show(f"  said in {room}:\n    {content['body']}", "magenta")
            return True

        made = SendMessage(lambda: document, PERSON, 0, lambda: new_id("env"), post)
        return OwnTools(made, document, self.watch)

    def report(self) -> dict[str, Any]:
        """Return what came of it, as `--json` prints it."""
        return {
            "agent": self._agent,
            "gosuto_sha256": sha256(self.cast.document),
            "model": model_name(self.cast.document, self.cast.real),
            "scripted": self.cast.real is None,
            "ok": self.ok,
            "servers": list(self.servers),
            "tasks": [asdict(each) for each in self.ended],
            "calls": list(self.watch.calls.values()),
            "approvals": self.watch.asked,
            "model_calls": self.watch.model_calls,
            "tokens": self.watch.tokens,
        }

    @property
    def ok(self) -> bool:
        """True if every task was answered."""
        return all(each.ending == Ending.ANSWERED.value for each in self.ended)

    def summary(self) -> str:
        """Sum up."""
        calls = list(self.watch.calls.values())
        approved = sum(each["decision"] == "approve" for each in self.watch.asked)
        told = [
            _count(len(self.ended), "task"),
            _count(len(calls), "call of a tool", "calls of tools"),
            f"{len(self.watch.asked)} asked ({approved} approved)",
            f"{sum(each.get('decision') == Answer.DENY for each in calls)} refused",
            f"{self.watch.tokens} tokens",
        ]
        return ", ".join(told) + "\nNothing is kept."


async def _unless_over(work: asyncio.Task[Finish], asking: asyncio.Task[None]) -> Finish:
    """Await work; if the questions cannot be asked any more, end with that error."""
    try:
        await asyncio.wait({work, asking}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            asking.result()
        return await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def _server(seen: GatewayServer, document: Document) -> str:
    if seen.health == "ok":
        return f"{seen.name}: {_count(seen.tools, 'tool')}"
    spec = document.mcp_servers[seen.name]
    where = spec.url or (spec.command or [""])[0]
    missing = [each for each in spec.secrets.values() if each in seen.reason]
    hint = f"; give --secret-file={missing[0]}=FILE" if missing else ""
    return f"{seen.name} ({where}) does not run: {seen.reason}{hint}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
