"""Errors between this program and systemd."""

from __future__ import annotations

from agency.errors import AgencyError, ExitCode


class SystemdError(AgencyError):
    """systemd refused a call, or did not answer it."""


class NoBusError(SystemdError):
    """This machine has no system bus, or no systemd on it; exit 3."""

    exit_code = ExitCode.PREREQUISITE


class NoSuchUnitError(SystemdError):
    """systemd does not know the unit."""


class RefusedError(SystemdError):
    """A call that this user may not make: by polkit's rules, or because the unit is masked."""


class JobError(SystemdError):
    """A job that was accepted, but failed or did not end in time."""


class JournalError(SystemdError):
    """A journal that could not be read."""
