"""The errors of a Matrix call."""

from __future__ import annotations

from agency.errors import AgencyError


class MatrixError(AgencyError):
    """Failure of a call of the homeserver.

    `status` is None when there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str,
        status: int | None = None,
        errcode: str | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.errcode = errcode
        self.retry_after_s = retry_after_s

    @property
    def doubtful(self) -> bool:
        """True if the homeserver may have carried out the call."""
        return self.status is None or 200 <= self.status < 300

    @property
    def temporary(self) -> bool:
        """True if the same call may succeed later."""
        return self.doubtful or self.status in (408, 429) or (self.status or 0) >= 500

    @property
    def may_pass(self) -> bool:
        """True if another attempt may succeed: also with a token, which may be in rotation."""
        return self.temporary or self.status == 401


class AnswerError(MatrixError):
    """An answer that is too long, does not end, or lacks what the specification promises."""


class NoReplyError(AgencyError):
    """A command that the control plane has not answered in time."""
