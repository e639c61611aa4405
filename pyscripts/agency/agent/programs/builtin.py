"""Loop of the builtin program: does what `steps` decides, and puts every event in the journal.

The tools of an answer are called one after the other, in its order. A call that had begun when the
program was killed is told to the model as unknown, and never made again by itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from agency.agent.models.conversation import Answer, AssistantMessage, ModelRequest, ToolCall
from agency.agent.models.faults import (
    BudgetSpentError,
    ModelError,
    ModelRefusedError,
    UnknownToolError,
)
from agency.agent.programs.gateway_tools import GatewayAwayError
from agency.agent.programs.journal import Journal
from agency.agent.programs.steps import (
    UNKNOWN_OUTCOME,
    Answered,
    Ask,
    Call,
    CallBegun,
    CallEnded,
    CallNotTaken,
    Ending,
    Event,
    Finish,
    Lost,
    ModelFailed,
    Started,
    StepLimits,
    Stopped,
    next_action,
)
from agency.agent.programs.tools import Outcome, Tool, Tools, definitions, wire_names
from agency.canonical import once_each
from agency.clock import Clock
from agency.errors import AgencyError, PrerequisiteError

T = TypeVar("T")

_LONGEST_WAIT_S = 30.0
_SETTLE_S = 30.0  # for the tool servers of an agent that was started again
_LOOK_S = 0.5
_UNKNOWN_TOKEN = 401

_log = logging.getLogger(__name__)


class Model(Protocol):
    """Way to a model."""

    async def ask(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Answer:
        """Ask; raises ModelError."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run: the model's name, the system prompt, bounds."""

    model: str
    system: str
    max_tokens: int = 4096
    temperature: float | None = None
    limits: StepLimits = field(default_factory=StepLimits)


class AgentAwayError(PrerequisiteError):
    """Agent that ended under its program: the journal goes on with the tokens of its next start."""


class _StopError(Exception):
    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


class _PauseError(Exception):
    """Nobody answers now: the run's own steps have not failed."""


@dataclass(slots=True)
class Run:
    """One run of a task.

    Setting `stop` cancels it for good. Cancelling the coroutine only interrupts it: a later run
    with the same journal goes on. With `leaves` whoever started it begins it again: it also ends
    where the agent is away, and is paused where the budget is spent or nobody answers; without,
    that is a failure of the model or a tool like others.
    """

    settings: Settings
    model: Model
    tools: Tools
    journal: Journal
    clock: Clock = field(default_factory=Clock)
    on_text: Callable[[str], None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    leaves: bool = False
    _begun: float = 0.0
    _before: float = 0.0
    _unanswered: list[ModelFailed] = field(default_factory=list)  # calls in a row; with `leaves`

    async def run(self, task: str) -> Finish:
        """Work until the end, or go on with what the journal holds; return the end.

        Raises:
            JournalError: an event cannot be put on disk: nothing more is done.
            AgentAwayError: the agent ended meanwhile; only with `leaves`.
        """
        self._begun, self._before = self.clock.steady(), self.journal.elapsed_s
        if not self.journal.state.messages and self.journal.state.ending is None:
            self._put(Started(task))
        elif self.leaves:
            await self._settled()
        while True:
            action = next_action(self.journal.state, self.settings.limits)
            if isinstance(action, Finish):
                if self.journal.state.ending is None:
                    self._put(Stopped(action.ending))
                return action
            try:
                await self._do(action)
            except _StopError as stop:
                if stop.ending is Ending.TIME and self._unanswered:
                    return self._paused()
                self._put(Stopped(stop.ending))
            except _PauseError:
                return self._paused()

    async def _do(self, action: Ask | Call | Lost) -> None:
        match action:
            case Ask():
                self._take(await self._until_stopped(self._asked()))
            case Call(call):
                await self._until_stopped(self._called(call))
            case Lost(call):
                self._put(CallEnded(call.id, call.name, UNKNOWN_OUTCOME, failed=True))

    def _take(self, event: Event) -> None:
        """Put down what came of asking; of a call that may be answered later the journal has none.

        Raises:
            _PauseError: the budget is spent, or as many calls in a row have no answer.
        """
        if not (self.leaves and isinstance(event, ModelFailed) and _passes(event)):
            self._unanswered.clear()
            self._put(event)
            return
        self._unanswered.append(event)
        if event.ending or len(self._unanswered) >= self.settings.limits.errors:
            raise _PauseError

    def _paused(self) -> Finish:
        last, calls = self._unanswered[-1], len(self._unanswered)
        if last.ending:
            return Finish(last.ending, last.reason, paused=True)
        said = f"{calls} calls of the model in a row without an answer: {last.reason}"
        return Finish(Ending.ERRORS, said, paused=True)

    async def _named(self) -> dict[str, Tool]:
        return wire_names(await self.tools.list())

    async def _settled(self) -> None:
        """Wait until the tools that the run has used are there again, or for so long.

        Raises:
            AgentAwayError: the agent is away.
        """
        state, begun = self.journal.state, self.clock.steady()
        used = {
            call.name
            for each in state.messages
            if isinstance(each, AssistantMessage)
            for call in each.calls
        }
        while self.clock.steady() - begun < _SETTLE_S:
            try:
                if used <= (await self._named()).keys():
                    return
            except GatewayAwayError as error:
                raise _away(error) from error
            except AgencyError:
                pass  # it begins
            await self.sleep(_LOOK_S)

    async def _asked(self) -> Event:
        settings = self.settings
        try:
            named = await self._named()
        except AgencyError as error:
            if self.leaves and isinstance(error, GatewayAwayError):
                raise _away(error) from error
            # Without its tools the model would answer that nothing can be done.
            told = f"the tools cannot be listed: {error.message}"
            _log.warning("the tools cannot be listed", extra={"fields": {"why": error.message}})
            failed = self.journal.state.errors + len(self._unanswered)
            await self.sleep(min(_LONGEST_WAIT_S, 2.0**failed))
            return ModelFailed(told)
        request = ModelRequest(
            settings.model,
            self.journal.state.messages,
            settings.max_tokens,
            settings.system,
            definitions(named),
            settings.temperature,
        )
        try:
            return Answered(await self.model.ask(request, on_text=self.on_text))
        except UnknownToolError as error:
            return Answered(error.answer)  # each such call gets its own refusal
        except BudgetSpentError as error:
            return ModelFailed(error.message, Ending.BUDGET)
        except ModelRefusedError as error:
            if self.leaves and error.status == _UNKNOWN_TOKEN:
                raise _away(error) from error
            return ModelFailed(error.message, Ending.REFUSED)
        except ModelError as error:
            _log.warning("the model gave no answer", extra={"fields": {"why": error.message}})
            return ModelFailed(error.message)

    async def _called(self, call: ToolCall) -> None:
        try:
            tool = (await self._named()).get(call.name)
            told = "there is no tool of this name; nothing was called"
        except AgencyError as error:
            if self.leaves and isinstance(error, GatewayAwayError):
                raise _away(error) from error
            tool, told = None, f"nothing was called: {error.message}"
        if tool is None:
            self._put(CallEnded(call.id, call.name, told, failed=True))
            return
        try:
            arguments: dict[str, Any] = json.loads(call.arguments, object_pairs_hook=once_each)
        except ValueError:
            text = "an argument comes twice; nothing was called"
            self._put(CallEnded(call.id, tool.name, text, failed=True))
            return
        self._put(CallBegun(call.id))
        try:
            outcome = await self.tools.call(tool.name, arguments)
        except AgencyError as error:
            if self.leaves and isinstance(error, GatewayAwayError):
                self._put(CallNotTaken(call.id))
                raise _away(error) from error
            outcome = Outcome(error.message, failed=True)
        self._put(CallEnded(call.id, tool.name, outcome.text, outcome.failed))

    def _elapsed(self) -> float:
        return self._before + self.clock.steady() - self._begun

    def _put(self, event: Event) -> None:
        self.journal.append(event, self._elapsed())

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work until somebody stops the run, or its time is up; then the work is cancelled.

        Raises:
            _StopError: it was stopped.
        """
        left = self.settings.limits.wall_s - self._elapsed()
        if self.stop.is_set() or left <= 0:
            work.close()
            raise _StopError(Ending.CANCELLED if self.stop.is_set() else Ending.TIME)
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({doing, stopping}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise _StopError(Ending.CANCELLED if stopping.done() else Ending.TIME)
        finally:
            for each in (doing, stopping):
                each.cancel()
            await asyncio.gather(doing, stopping, return_exceptions=True)


def _passes(failed: ModelFailed) -> bool:
    """Return whether another try may be answered: later, or when there is budget again."""
    return failed.ending in {None, Ending.BUDGET}


def _away(error: AgencyError) -> AgentAwayError:
    return AgentAwayError(
        f"the agent is away: {error.message}",
        where=error.where,
        hint="start it; with the same journal the task goes on",
    )
