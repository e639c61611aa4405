"""Putting the target `incus` together for a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from agency.errors import PrerequisiteError
from agency.paths import state_dir
from agency.source_digest import source_root
from agency.spinup.guest.incus.daemon import incus
from agency.spinup.guest.machines.janitor import Owner, reap
from agency.spinup.guest.running.making import Maker
from agency.spinup.guest.running.secrets import RunSecrets
from agency.spinup.guest.running.target import IncusTarget
from agency.spinup.guest.running.wishes import Wishes
from agency.spinup.steps import Recorder
from agency.spinup.target import Setting


@contextlib.asynccontextmanager
async def open_incus(
    setting: Setting, recorder: Recorder, wishes: Wishes
) -> AsyncIterator[IncusTarget]:
    """The target, not yet begun; what killed runs left has been destroyed.

    Raises:
        PrerequisiteError: this user cannot make guests, or Incus is not there.
    """
    if os.geteuid() != 0:
        raise PrerequisiteError(
            "only root can make a guest",
            where="user",
            hint="run it as root; --target local needs no rights",
        )
    source = source_root()
    if not (source / "pyproject.toml").is_file():
        raise PrerequisiteError(
            "a guest is made from a checkout, and this is none",
            where=str(source),
            hint="clone the project and run it from there",
        )
    state = state_dir()
    directory = setting.directory
    async with incus() as client:
        await reap(client, state)
        yield IncusTarget(
            setting=setting,
            recorder=recorder,
            wishes=wishes,
            incus=client,
            maker=Maker(client, state / "guest", source, Owner(state, directory.run), wishes),
            secrets=RunSecrets(setting.loaded, directory.path / "secrets"),
        )
