"""Redaction of the errors that calls about agents raise, such as a runtime's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from agency.control.runtimes.base import Runtime
from agency.errors import AgencyError
from agency.secrets import Redactor, SecretValue


class Holder(Protocol):
    """Holder of secrets: its own, and those of its runtime."""

    secrets: tuple[SecretValue, ...]
    runtime: Runtime


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Holder)


def redacts(
    call: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Remove every known secret from the error that a call raises, such as a runtime's."""

    @wraps(call)
    async def redacted(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        before = self.runtime.secrets()  # a stop deletes a token, a start makes one
        try:
            return await call(self, *args, **kwargs)
        except AgencyError as error:
            redact = Redactor([*self.secrets, *before, *self.runtime.secrets()]).redact
            error.message = redact(error.message)
            error.where = error.where and redact(error.where)
            error.hint = error.hint and redact(error.hint)
            error.args = (error.message,)
            raise

    return redacted
