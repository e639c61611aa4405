"""Values of secrets: types and limits, and values that came with a command. None is ever quoted.

A value that comes by the command line's standard input travels beside the command's text, and waits
here, in memory alone, until the command has its turn.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import StrEnum

from agency.clock import Clock
from agency.control.execution.result import RefusalError
from agency.secrets import MIN_LENGTH, SecretValue

MAX_BYTES = 16 * 1024
_MOST_WAITING = 32


class SecretType(StrEnum):
    """Type of a secret: what its value must look like."""

    TEXT = "text"  # anything, also of several lines
    API_KEY = "api-key"  # one line without spaces
    MATRIX_TOKEN = "matrix-token"  # noqa: S105 - the name of a type: one line without spaces
    JSON = "json"  # a document, such as a service account's key

    @property
    def is_one_line(self) -> bool:
        """True if its values are one word."""
        return self in (SecretType.API_KEY, SecretType.MATRIX_TOKEN)


def checked(kind: SecretType, text: str) -> SecretValue:
    """Check a value that came in, and return it as it is kept: without a line break at its end.

    Raises:
        RefusalError: it is not a value of this type.
    """
    text = text.replace("\r\n", "\n").removesuffix("\n")
    size = len(text.encode(errors="surrogatepass"))
    if len(text.strip()) < MIN_LENGTH:
        _refuse(f"has fewer than {MIN_LENGTH} characters: logs could not be kept free of it")
    if size > MAX_BYTES:
        _refuse(f"has {size} bytes, and may have {MAX_BYTES}")
    if any(0xD800 <= ord(each) < 0xE000 for each in text) or "\0" in text:
        _refuse("is not text")
    if kind.is_one_line and (not text.isprintable() or " " in text):
        _refuse(
            f"holds a space, a line break or a control character, and one of type {kind} may not"
        )
    if kind is SecretType.JSON:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            _refuse("is not JSON")
    return SecretValue(text)


def _refuse(reason: str) -> None:
    raise RefusalError(f"the value {reason}", hint="enter it again; nothing was stored")


@dataclass(frozen=True, slots=True)
class _Held:
    """A value, until when it is kept, and how many requests brought it that were not refused."""

    until_s: float
    text: str = field(repr=False)
    sent: int = 1


@dataclass(slots=True)
class Waiting:
    """Values that came with commands, by operation, until these take them or it is too late.

    A command may be sent several times: the value that came first is kept.
    """

    clock: Clock
    keep_s: float
    _held: OrderedDict[str, _Held] = field(default_factory=OrderedDict, repr=False)

    def put(self, operation: str, text: str) -> None:
        """Keep the value of an operation, unless one is kept already.

        Raises:
            RefusalError: too many wait.
        """
        self._forget()
        held = self._held.get(operation)
        if held is None and len(self._held) >= _MOST_WAITING:
            raise RefusalError(
                "too many values wait for their commands", hint="send it again in a minute"
            )
        until = self.clock.steady() + self.keep_s
        made = _Held(until, text) if held is None else replace(held, sent=held.sent + 1)
        self._held[operation] = made

    def take_back(self, operation: str) -> None:
        """Undo one `put`: the request was refused. What another request brought stays."""
        held = self._held.pop(operation, None)
        if held is not None and held.sent > 1:
            self._held[operation] = replace(held, sent=held.sent - 1)

    def take(self, operation: str) -> str | None:
        """Take the value of an operation; None if none came with it, or it is gone."""
        self._forget()
        found = self._held.pop(operation, None)
        return None if found is None else found.text

    def holds(self, operation: str) -> bool:
        """Return whether the value of an operation waits."""
        self._forget()
        return operation in self._held

    def _forget(self) -> None:
        now = self.clock.steady()
        for operation in [each for each, held in self._held.items() if held.until_s <= now]:
            del self._held[operation]
