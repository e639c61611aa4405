"""The one family of errors, and the exit codes that every command uses."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit statuses of the commands."""

    DONE = 0
    BAD = 1  # the thing checked is bad
    USAGE = 2
    PREREQUISITE = 3  # something that must be there first is not
    INTERNAL = 4


class AgencyError(Exception):
    """Base of all errors: the fault, its place, and the next step.

    `where` is a file with line, a field, a URL or a unit; `hint` is an instruction. None of the
    three may hold a secret value: they are printed, logged and put into transcripts.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BAD

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, object]:
        """Describe the error as `--json` prints it."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
            "exit_code": int(self.exit_code),
        }


class LoggedError(AgencyError):
    """Error explained by the end of a log; `log_tail` holds those lines, free of secrets."""

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        log_tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.log_tail = log_tail

    def as_dict(self) -> dict[str, object]:
        """Describe the error as `--json` prints it, with the log."""
        return {**AgencyError.as_dict(self), "log_tail": list(self.log_tail)}


class BadInputError(AgencyError):
    """Bad result of a check: what was checked does not hold; exit 1."""


class UsageError(AgencyError):
    """Wrong use of a command; exit 2."""

    exit_code = ExitCode.USAGE


class PrerequisiteError(AgencyError):
    """Missing prerequisite: a program, key, file or right; exit 3."""

    exit_code = ExitCode.PREREQUISITE


class InternalError(AgencyError):
    """State that should not be reachable; exit 4."""

    exit_code = ExitCode.INTERNAL
