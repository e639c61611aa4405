"""Steps of the builtin program as pure functions: events make a state, a state says what is next.

    apply(state, event) ─▶ state          next_action(state) ─▶ Ask | Call | Finish

A journal of events gives the same state again, so that a run goes on where it was killed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from agency.agent.models.conversation import (
    Answer,
    Message,
    StopReason,
    ToolCall,
    ToolResult,
    UserMessage,
)
from agency.agent.programs.tools import as_data

UNKNOWN_OUTCOME = (
    "the outcome of this call is unknown: the program was ended after the call had begun. It may "
    "or may not have happened. It was not repeated; look at what is there before you call it again"
)


class Ending(Enum):
    """Reason why a run ended."""

    ANSWERED = "answered"
    CUT = "cut"  # the answer reached its token limit
    REFUSED = "refused"  # by the model's provider or by the proxy
    BUDGET = "budget"
    TURNS = "turns"
    TIME = "time"
    ERRORS = "errors"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Stop conditions of a run; `errors` counts failures in a row, of the model and of tools."""

    turns: int = 50
    wall_s: float = 3600.0
    errors: int = 5


@dataclass(frozen=True, slots=True)
class Started:
    """Beginning of a run."""

    task: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Answer of the model."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """Call of the model without an answer; with `ending`, another try would end the same way."""

    reason: str
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class CallBegun:
    """Beginning of a tool call: from here on it may have happened."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallNotTaken:
    """Call that nobody took: it did not happen, and is made again."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """Result of a tool call; `tool` is the name by which policy knows it."""

    call_id: str
    tool: str
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """Stop from outside the conversation: time is up, or somebody cancelled."""

    ending: Ending


Event = Started | Answered | ModelFailed | CallBegun | CallNotTaken | CallEnded | Stopped


@dataclass(frozen=True, slots=True)
class State:
    """State of a run; `begun` is the call that may have happened."""

    messages: tuple[Message, ...] = ()
    pending: tuple[ToolCall, ...] = ()
    begun: str | None = None
    turns: int = 0
    errors: int = 0
    ending: Ending | None = None
    said: str = ""  # the answer, or why there is none


@dataclass(frozen=True, slots=True)
class Ask:
    """Action: ask the model."""


@dataclass(frozen=True, slots=True)
class Call:
    """Action: call a tool."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Lost:
    """Action: tell the model that a call's outcome is unknown."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Finish:
    """Action: end the run; a paused one is not over, and goes on with the same journal."""

    ending: Ending
    said: str
    paused: bool = False


Action = Ask | Call | Lost | Finish

_ENDINGS = {
    StopReason.LENGTH: Ending.CUT,
    StopReason.REFUSED: Ending.REFUSED,
    StopReason.DONE: Ending.ANSWERED,
    StopReason.TOOLS: Ending.ANSWERED,  # without calls there is nothing to wait for
}


def next_action(state: State, limits: StepLimits) -> Action:
    """Decide what is next."""
    if state.ending is not None:
        return Finish(state.ending, state.said)
    if state.begun is not None:
        return Lost(next(call for call in state.pending if call.id == state.begun))
    if state.errors >= limits.errors:
        return Finish(Ending.ERRORS, f"{state.errors} failures in a row: {state.said}")
    if state.pending:
        return Call(state.pending[0])
    if state.turns >= limits.turns:
        return Finish(Ending.TURNS, f"no answer after {state.turns} turns")
    return Ask()


def apply(state: State, event: Event) -> State:
    """Apply an event.

    Raises:
        ValueError: the event cannot follow: a journal that holds it is damaged.
    """
    if state.ending is not None:
        raise ValueError("an event after the end")
    match event:
        case Started(task):
            _need(not state.messages)
            return replace(state, messages=(UserMessage(task),))
        case Answered(answer):
            _need(bool(state.messages) and not state.pending)
            return _answered(state, answer)
        case ModelFailed(reason, ending):
            _need(bool(state.messages) and not state.pending)
            return replace(state, errors=state.errors + 1, ending=ending, said=reason)
        case CallBegun(call_id):
            _need(bool(state.pending) and state.pending[0].id == call_id and state.begun is None)
            return replace(state, begun=call_id)
        case CallNotTaken(call_id):
            _need(state.begun is not None and state.begun == call_id)
            return replace(state, begun=None)
        case CallEnded(call_id, tool, text, failed):
            _need(bool(state.pending) and state.pending[0].id == call_id)
            result = ToolResult(call_id, as_data(tool, text), failed)
            return replace(
                state,
                messages=(*state.messages, result),
                pending=state.pending[1:],
                begun=None,
                errors=state.errors + 1 if failed else 0,
                said=text[:200] if failed else "",
            )
        case Stopped(ending):
            return replace(state, ending=ending, said=ending.value)


def _answered(state: State, answer: Answer) -> State:
    messages = (*state.messages, answer.as_message())
    turns = state.turns + 1
    if answer.calls:
        # Errors go on: a model that only makes calls that fail is ended, too.
        return replace(state, messages=messages, pending=answer.calls, turns=turns)
    ending = _ENDINGS[answer.stop]
    return replace(state, messages=messages, turns=turns, ending=ending, said=answer.text)


def _need(true: bool) -> None:
    if not true:
        raise ValueError("an event that cannot follow")
