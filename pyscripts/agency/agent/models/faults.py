"""Errors of the port to models, each with what a caller may do about it.

No message quotes an answer beyond one bounded line of the provider's own error text.
"""

from __future__ import annotations

from agency.agent.models.conversation import Answer
from agency.errors import AgencyError, PrerequisiteError

_MOST_TEXT = 300


class ModelError(AgencyError):
    """Base: the model gave no answer that can be used."""


class ModelUnreachableError(ModelError, PrerequisiteError):
    """Connection lost or refused before an answer began."""


class ModelTimeoutError(ModelError):
    """Answer that did not come, go on or end in time."""


class RateLimitedError(ModelError):
    """Refusal because of too many calls; `retry_after_s` is what the server asks for."""

    def __init__(self, message: str, *, where: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, where=where, hint="try again later")
        self.retry_after_s = retry_after_s


class BudgetSpentError(ModelError):
    """Refusal because the agent's budget is used up."""


class ModelRefusedError(ModelError):
    """Refusal of the call itself: asked again, it would be refused again."""

    def __init__(self, message: str, *, where: str, status: int) -> None:
        super().__init__(message, where=where)
        self.status = status


class ModelFailedError(ModelError):
    """Failure on the server's side, before or in mid-answer."""


class MalformedAnswerError(ModelError):
    """Answer that is not in its wire format."""


class OversizedAnswerError(ModelError):
    """Answer, or a part of it, beyond its bound."""


class CutAnswerError(ModelError):
    """Stream that ended before the answer did."""


class UnknownToolError(ModelError):
    """Call of a tool that was not offered; `answer` is the whole answer."""

    def __init__(self, answer: Answer, names: tuple[str, ...], *, where: str) -> None:
        told = ", ".join(name[:64] for name in names[:3])
        super().__init__(f"the model calls tools that it was not offered: {told}", where=where)
        self.answer = answer
        self.names = names


def one_line(text: object) -> str:
    """Reduce a text of the other side to one bounded printable line."""
    joined = " ".join(str(text)[: _MOST_TEXT * 4].split())
    return "".join(sign for sign in joined if sign.isprintable())[:_MOST_TEXT]
