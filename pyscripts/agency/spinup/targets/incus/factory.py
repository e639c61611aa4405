"""Putting the target `incus` together for a run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agency.guests.incus.daemon import incus
from agency.guests.machines.janitor import Owner, reap
from agency.paths import state_dir
from agency.source_digest import source_root
from agency.spinup.record import Recorder
from agency.spinup.target import Setting
from agency.spinup.targets.incus.config import Wishes
from agency.spinup.targets.incus.creation import Maker
from agency.spinup.targets.incus.needs import Needs
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.spinup.targets.incus.target import IncusTarget


@contextlib.asynccontextmanager
async def open_incus(
    setting: Setting, recorder: Recorder, wishes: Wishes
) -> AsyncIterator[IncusTarget]:
    """The target, not yet begun; what killed runs left has been destroyed.

    Raises:
        PrerequisiteError: something that the run needs is not here; all of it is named.
    """
    source, state = source_root(), state_dir()
    directory = setting.directory
    needs = Needs(wishes, state / "guest", source)
    needs.refuse_lacking_here()
    async with incus() as client:
        await needs.refuse_lacking(client)
        await reap(client, state)
        yield IncusTarget(
            setting=setting,
            recorder=recorder,
            wishes=wishes,
            incus=client,
            maker=Maker(client, state / "guest", source, Owner(state, directory.run), wishes),
            secrets=RunSecrets(setting.loaded, directory.path / "secrets"),
        )
