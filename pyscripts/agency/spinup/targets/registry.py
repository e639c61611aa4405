"""The targets by name, each imported only when it is used."""

from __future__ import annotations

from functools import partial

from agency.errors import UsageError
from agency.spinup.options import GuestOptions
from agency.spinup.pipeline import Opener
from agency.spinup.targets.ssh.options import SshOptions


def opener(target: str, guest: GuestOptions, ssh: SshOptions) -> Opener:
    """What puts a target together.

    Raises:
        UsageError: there is no such target, or what it needs to know was not said.
    """
    if target == "local":
        from agency.spinup.targets.local.factory import open_local

        return open_local
    if target == "incus":
        from agency.spinup.targets.incus.config import wishes_of
        from agency.spinup.targets.incus.factory import open_incus

        return partial(open_incus, wishes=wishes_of(guest))
    if target == "ssh":
        from agency.spinup.targets.ssh.config import wishes_of as wishes_for_host
        from agency.spinup.targets.ssh.factory import open_ssh

        return partial(open_ssh, wishes=wishes_for_host(ssh, guest.suite_timeout_s))
    raise UsageError(f"there is no target {target!r}", hint="use local, incus or ssh")
