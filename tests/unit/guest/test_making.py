"""Making a run's guest: what is done before anything is made."""

import pytest

from agency.errors import PrerequisiteError
from agency.guests.machines.janitor import Owner
from agency.spinup.targets.incus.creation import Maker
from agency.spinup.targets.incus.evidence import _half_made


class NoIncus:
    """Every wish ends here: nothing after the first question is looked at."""

    async def server(self):
        raise PrerequisiteError("no Incus")


async def test_what_killed_runs_left_half_made_goes_whatever_is_wanted(tmp_path):
    base = tmp_path / "guest"
    for cache, digest in (("images", "d1"), ("nixos-images", "d2")):
        (base / cache / f".making.{digest}" / "rootfs").mkdir(parents=True)
    assert _half_made(base) == 2
    maker = Maker(NoIncus(), base, tmp_path, Owner(tmp_path, "run-1"), None)
    with pytest.raises(PrerequisiteError, match="no Incus"):
        async with maker.hold():
            pass
    assert _half_made(base) == 0
