"""A full disk under the coding contract: what is done is kept, and what cannot be is told."""

import os
import subprocess
from pathlib import Path

import pytest
from contracts import BRANCH, COMMIT, Bench
from repositories import git

from agency.workspace.contract.preflight import PreflightError
from agency.workspace.contract.repository import HOOKS

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"),
    pytest.mark.skipif(HOOKS.stat().st_uid != 0, reason="the hooks must be root's"),
]


@pytest.fixture
def small(tmp_path: Path):
    """A file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


FILL = "dd if=/dev/zero of=../fill bs=4k 2>/dev/null;"


async def test_a_command_that_fills_the_disk_loses_nothing_and_is_told(small):
    """What was committed stays, what was not lies where it was, and nobody takes it for done."""
    bench = Bench(small)
    done = await bench.work(COMMIT + "echo half >> app;" + FILL + "git commit -qam more")
    assert (done.ok, done.status) == (False, 128)
    assert [line.split(" ", 1)[1] for line in done.commits] == ["Mend it"]
    assert done.breaches
    assert "could not be left tidy" in done.breaches[0]
    assert "Out of diskspace" in done.breaches[0]
    with pytest.raises(PreflightError):
        await bench.work(COMMIT)

    (bench.place.parent / "fill").unlink()
    assert (bench.place / "app").read_text() == "code\nmore\nhalf\n"
    git(bench.place, "stash", "-q")
    git(bench.place, "switch", "-q", "main")
    again = await bench.work(COMMIT)
    assert again.ok, again
    assert len(again.commits) == 2
    assert git(bench.place, "log", "-1", "--format=%s", BRANCH).strip() == "Mend it"
