"""Putting the target `ssh` together for a run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agency.guests.activation.definitions import load_start
from agency.machine.ssh.machine import connected
from agency.source_digest import source_root
from agency.spinup.expected import by_export
from agency.spinup.record import Recorder
from agency.spinup.suite.requirements import require_suite
from agency.spinup.target import Setting
from agency.spinup.targets.ssh.accounts import load_accounts
from agency.spinup.targets.ssh.config import Wishes
from agency.spinup.targets.ssh.target import SshTarget


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
