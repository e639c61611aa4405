"""Putting the target `ssh` together for a run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agency.source_digest import source_root
from agency.spinup.guest.activation.definitions import load_start
from agency.spinup.guest.looking.requirements import require_suite
from agency.spinup.guest.running.expected import by_export
from agency.spinup.ssh.accounts import load_accounts
from agency.spinup.ssh.machine import connected
from agency.spinup.ssh.target import SshTarget
from agency.spinup.ssh.wishes import Wishes
from agency.spinup.steps import Recorder
from agency.spinup.target import Setting


@contextlib.asynccontextmanager
async def open_ssh(
    setting: Setting, recorder: Recorder, wishes: Wishes
) -> AsyncIterator[SshTarget]:
    """The target, connected and not yet begun.

    Raises:
        PrerequisiteError: the host cannot be reached, or something is missing on this side.
        BadInputError: a file of passwords that is none.
    """
    require_suite(wishes.suite)
    portable = source_root() / "modules" / "portable"
    file, instance = wishes.password_file, setting.loaded.instance
    expected = by_export(portable, load_start(portable).units)
    accounts = None if file is None else load_accounts(file, instance)
    async with connected(
        wishes.host,
        options=wishes.ssh_options,
        directory=setting.directory.path / "ssh",
        marker=setting.directory.run,
        timeout_s=wishes.connect_timeout_s,
    ) as machine:
        yield SshTarget(
            setting=setting,
            recorder=recorder,
            wishes=wishes,
            machine=machine,
            expected=expected,
            accounts=accounts or {},
        )
