"""Errors between this program and systemd."""

from __future__ import annotations

from agency.errors import AgencyError, ExitCode


class SystemdError(AgencyError):
    """systemd did not do, or did not answer, what it was asked."""


class NoBusError(SystemdError):
    """This machine has no system bus, or no systemd on it; exit 3."""

    exit_code = ExitCode.PREREQUISITE


class NoSuchUnitError(SystemdError):
    """systemd does not know the unit."""


class RefusedError(SystemdError):
    """This user may not do that, by polkit's rules or because the unit is masked."""


class JobError(SystemdError):
    """A job was accepted and did not end well, or not in time."""


class JournalError(SystemdError):
    """The journal could not be read."""
