"""The targets by name, each imported only when it is used."""

from __future__ import annotations

from agency.errors import UsageError
from agency.spinup.options import GuestOptions
from agency.spinup.smoke_run import Opener


def opener(target: str, guest: GuestOptions) -> Opener:
    """What puts a target together.

    Raises:
        UsageError: there is no such target.
    """
    if target == "local":
        from agency.spinup.local.opening import open_local

        return open_local
    if target == "incus":
        from functools import partial

        from agency.spinup.guest.opening import open_incus
        from agency.spinup.guest.wishes import wishes_of

        return partial(open_incus, wishes=wishes_of(guest))
    raise UsageError(f"there is no target {target!r}", hint="use local or incus")
