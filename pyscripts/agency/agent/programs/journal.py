"""Journal of a run: one event a line, on disk before the run goes on; read again after a kill.

The last line may be torn: it is cut off. Any other damage ends the work: what a run did must not be
guessed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from agency.agent.models.conversation import Answer, StopReason, ToolCall, Usage
from agency.agent.programs.steps import (
    Answered,
    CallBegun,
    CallEnded,
    CallNotTaken,
    Ending,
    Event,
    ModelFailed,
    Started,
    State,
    Stopped,
    apply,
)
from agency.errors import BadInputError, PrerequisiteError
from agency.jsonl import append_line, whole_lines
from agency.locks import take

_MAX_BYTES = 256 * 1024 * 1024
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class JournalError(PrerequisiteError):
    """Journal that cannot be written, read or held: then nothing more is done."""


def as_line(event: Event, elapsed_s: float) -> bytes:
    """Write an event; `elapsed_s` is the time that the run has taken so far."""
    found = {"kind": type(event).__name__, "elapsed_s": round(elapsed_s, 3), **asdict(event)}
    return json.dumps(found, default=lambda value: value.value).encode()


def read_line(line: bytes) -> tuple[Event, float]:
    """Read an event.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    found = json.loads(line)
    kind, elapsed = found.pop("kind"), float(found.pop("elapsed_s"))
    return _READERS[kind](found), elapsed


def _answer(found: Mapping[str, Any]) -> Answered:
    answer = found["answer"]
    calls = tuple(ToolCall(**each) for each in answer["calls"])
    stop, usage = StopReason(answer["stop"]), Usage(**answer["usage"])
    return Answered(Answer(answer["text"], stop, calls, usage))


def _failed(found: Mapping[str, Any]) -> ModelFailed:
    ending = found["ending"]
    return ModelFailed(found["reason"], None if ending is None else Ending(ending))


_READERS: Mapping[str, Callable[[dict[str, Any]], Event]] = {
    "Started": lambda found: Started(**found),
    "Answered": _answer,
    "ModelFailed": _failed,
    "CallBegun": lambda found: CallBegun(**found),
    "CallNotTaken": lambda found: CallNotTaken(**found),
    "CallEnded": lambda found: CallEnded(**found),
    "Stopped": lambda found: Stopped(Ending(found["ending"])),
}


class Journal:
    """An open journal, which one process holds; `state` is what its events make."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            JournalError: it cannot be opened, another process holds it, or it is damaged.
        """
        self.path = path
        self.state = State()
        self.elapsed_s = 0.0
        try:
            self._file = os.open(path, _FLAGS, 0o600)
        except OSError as error:
            raise self._error(f"cannot be opened: {error.strerror}") from error
        try:
            self._hold()
            self._replay()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, event: Event, elapsed_s: float) -> None:
        """Put an event on disk, and apply it.

        Raises:
            JournalError: it could not be written whole; the event does not count.
        """
        state = apply(self.state, event)
        try:
            append_line(self._file, as_line(event, elapsed_s))
        except OSError as error:
            raise self._error(f"cannot be written: {error.strerror}") from error
        self.state, self.elapsed_s = state, elapsed_s

    def _hold(self) -> None:
        if not take(self._file):
            raise self._error("another run holds it")

    def _replay(self) -> None:
        size = os.fstat(self._file).st_size
        if size > _MAX_BYTES:
            raise self._error(f"larger than {_MAX_BYTES} bytes")
        whole = whole_lines(os.pread(self._file, size, 0))
        for number, line in enumerate(whole.lines, 1):
            try:
                event, self.elapsed_s = read_line(line)
                self.state = apply(self.state, event)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise BadInputError(
                    f"line {number} of the journal is damaged",
                    where=str(self.path),
                    hint="look at what the run did, then begin the task anew with another journal",
                ) from None
        if whole.size != size:
            os.ftruncate(self._file, whole.size)

    def _error(self, reason: str) -> JournalError:
        return JournalError(f"the journal of the run: {reason}", where=str(self.path))
