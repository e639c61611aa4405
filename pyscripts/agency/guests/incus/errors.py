"""What can go wrong between us and Incus."""

from __future__ import annotations

from agency.errors import AgencyError, PrerequisiteError

INCUS_INSTALL_HINT = (
    "install Incus (Debian: incus-base and incus-client, from backports on Debian 12)"
)


class IncusError(AgencyError):
    """Incus refused a request or failed at it; `status` is its HTTP-like code, 0 for none."""

    def __init__(
        self, message: str, *, where: str | None = None, hint: str | None = None, status: int = 0
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status


class IncusTimeoutError(IncusError):
    """Incus, or what it runs, did not end in time."""


class IncusUnreachableError(PrerequisiteError):
    """No Incus answers, and none can be started."""


def is_missing(error: IncusError) -> bool:
    """Whether the error says that a thing does not exist."""
    return error.status == 404
