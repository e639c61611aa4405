"""Images: built once, never half, and every way to fail is explained and cleaned up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from agency.children import processes_with_marker
from agency.clock import new_id
from agency.errors import PrerequisiteError
from agency.guests.images.builder import BuildError
from agency.guests.images.cache import DigestCache
from agency.guests.images.image import Image, build, hold_image, image_cache
from agency.guests.images.recipe import ImageRecipe


def left_in(base: Path) -> list[str]:
    """What half-made things there are, and what is mounted there."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [p.name for p in base.glob("images/.making.*")] + [
        m for m in mounts if m.startswith(str(base))
    ]


def log_of(base: Path) -> str:
    logs = list(base.glob("images/.making.*/build.log"))
    return logs[0].read_text(errors="replace") if logs else ""


async def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


async def test_a_recipe_that_fails_half_way_is_explained(tmp_path, small_recipe, marker) -> None:
    broken = small_recipe.model_copy(
        update={"packages": (*small_recipe.packages, "no-such-package-of-debian")}
    )
    with pytest.raises(BuildError) as caught:
        async with hold_image(tmp_path, broken, marker=marker):
            pass
    assert "no-such-package-of-debian" in "\n".join(caught.value.log_tail)
    assert image_cache(tmp_path).digests() == ()
    assert left_in(tmp_path) == []


async def test_a_hook_that_fails_yields_no_image(tmp_path, small_recipe, marker) -> None:
    without_systemd = {"packages": ("netbase",), "disabled": ("nginx.service",)}
    broken = small_recipe.model_copy(update=without_systemd)
    with pytest.raises(BuildError) as caught:
        async with hold_image(tmp_path, broken, marker=marker):
            pass
    assert "systemctl" in "\n".join(caught.value.log_tail)
    assert image_cache(tmp_path).digests() == ()
    assert left_in(tmp_path) == []


async def test_an_interruption_leaves_nothing(tmp_path, small_recipe, marker) -> None:
    async def want() -> None:
        async with hold_image(tmp_path, small_recipe, marker=marker):
            pytest.fail("it was built before it could be interrupted")

    task = asyncio.create_task(want())
    await until(lambda: "I: " in log_of(tmp_path))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with_marker(marker) == ()
    assert left_in(tmp_path) == []


KILLED = """
import asyncio, sys
from pathlib import Path
from agency.guests.images.image import hold_image
from agency.guests.images.recipe import ImageRecipe
async def main():
    recipe = ImageRecipe.model_validate_json(sys.argv[1])
    async with hold_image(Path(sys.argv[2]), recipe, marker=sys.argv[3]):
        pass
asyncio.run(main())
"""


@dataclass(frozen=True)
class History:
    """One cache: a build in it was killed, then two wanted the same image at once.

    Attributes:
        left: What the killed build left, and what was whole then.
        fresh: Whether each of the two had it built.
        images: The image as each of the two got it, with its inode.
        after: What was half-made in the end.
    """

    base: Path
    left: tuple[list[str], tuple[str, ...]]
    fresh: list[bool]
    images: list[tuple[Image, int]]
    after: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(tmp_path_factory: pytest.TempPathFactory, small_recipe: ImageRecipe) -> History:
    """Built once for the three tests that look at it: a build takes half a minute."""
    base, marker = tmp_path_factory.mktemp("history"), new_id("test")
    argv = [sys.executable, "-c", KILLED, small_recipe.model_dump_json(), str(base), marker]
    process = await asyncio.create_subprocess_exec(*argv)
    await until(lambda: "installing" in log_of(base))
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await until(lambda: processes_with_marker(marker) == ())
    left = (left_in(base), image_cache(base).digests())

    async def want() -> tuple[Image, int]:
        async with hold_image(base, small_recipe, marker=marker) as image:
            return image, image.rootfs.stat().st_ino

    images = [*await asyncio.gather(want(), want())]
    assert processes_with_marker(marker) == ()
    return History(base, left, [image.fresh for image, _ in images], images, left_in(base))


async def test_what_a_killed_build_left_is_not_used(history: History) -> None:
    left, whole = history.left
    assert [name for name in left if name.startswith("/")] == [], "mounts are left"
    assert left != [], "nothing was half-made: the test tested nothing"
    assert whole == ()
    assert True in history.fresh
    assert history.after == []


async def test_two_who_want_the_same_build_it_once(history: History) -> None:
    assert sorted(history.fresh) == [False, True]


async def test_built_once_then_taken_from_the_cache(history: History, small_recipe, marker) -> None:
    (first, inode), other = history.images
    assert first.packages["systemd"].startswith("252")
    async with hold_image(history.base, small_recipe, marker=marker) as second:
        assert not second.fresh
        assert second.fingerprint == first.fingerprint == other[0].fingerprint
        assert second.rootfs.stat().st_ino == inode == other[1]
    changed = small_recipe.model_copy(update={"files": {"/etc/hostname": "other\n"}})
    assert changed.digest != small_recipe.digest
    assert left_in(history.base) == []


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 150 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", str(place)]
    subprocess.run(argv, check=True, timeout=30)
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=30)


async def test_too_little_room_is_refused_before_anything_is_built(
    small_disk, small_recipe, marker
) -> None:
    with pytest.raises(PrerequisiteError, match="disk space") as caught:
        async with hold_image(small_disk, small_recipe, marker=marker):
            pass
    assert "needed" in caught.value.message
    assert log_of(small_disk) == ""


async def test_a_disk_that_fills_up_is_named_as_the_cause(
    small_disk, small_recipe: ImageRecipe, marker
) -> None:
    cache = DigestCache(small_disk / "images", keep=1, needs=0)

    async def make(directory: Path) -> None:
        await build(small_recipe, None, directory, marker=marker)

    with pytest.raises(PrerequisiteError, match="not enough disk space"):
        async with cache.hold(small_recipe.digest, make):
            pass
    assert cache.digests() == ()
    assert left_in(small_disk) == [str(small_disk)], "only the disk itself is mounted"


async def test_only_root_builds(tmp_path, small_recipe, marker, monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PrerequisiteError, match="root"):
        async with hold_image(tmp_path, small_recipe, marker=marker):
            pass
    assert left_in(tmp_path) == []
