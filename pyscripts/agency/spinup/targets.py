"""The targets by name, each imported only when it is used."""

from __future__ import annotations

from functools import partial

from agency.errors import UsageError
from agency.spinup.options import GuestOptions
from agency.spinup.smoke_run import Opener
from agency.spinup.ssh.options import SshOptions


def opener(target: str, guest: GuestOptions, ssh: SshOptions) -> Opener:
    """What puts a target together.

    Raises:
        UsageError: there is no such target, or what it needs to know was not said.
    """
    if target == "local":
        from agency.spinup.local.opening import open_local

        return open_local
    if target == "incus":
        from agency.spinup.guest.running.opening import open_incus
        from agency.spinup.guest.running.wishes import wishes_of

        return partial(open_incus, wishes=wishes_of(guest))
    if target == "ssh":
        from agency.spinup.ssh.opening import open_ssh
        from agency.spinup.ssh.wishes import wishes_of as wishes_for_host

        return partial(open_ssh, wishes=wishes_for_host(ssh, guest.suite_timeout_s))
    raise UsageError(f"there is no target {target!r}", hint="use local, incus or ssh")
