"""The cache by digest: made once, whole or not at all, bounded."""

import asyncio
import os
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.spinup.guest.machines.locks import is_held, try_lock
from agency.spinup.guest.materials.cache import DigestCache


def cache(base: Path, *, keep: int = 2, needs: int = 0) -> DigestCache:
    return DigestCache(base / "cache", keep=keep, needs=needs)


def maker(content: str = "whole"):
    """A make function that counts its calls."""
    calls: list[Path] = []

    async def make(directory: Path) -> None:
        calls.append(directory)
        (directory / "thing").write_text(content)

    return make, calls


async def test_made_once_and_found_again(tmp_path):
    make, calls = maker()
    for fresh in (True, False):
        async with cache(tmp_path).hold("d1", make) as kept:
            assert (kept.path / "thing").read_text() == "whole"
            assert kept.fresh is fresh
    assert len(calls) == 1


async def test_two_at_once_make_it_once(tmp_path):
    began = asyncio.Event()
    go = asyncio.Event()
    calls = []

    async def make(directory: Path) -> None:
        calls.append(directory)
        began.set()
        await go.wait()
        (directory / "thing").write_text("whole")

    async def want() -> str:
        async with cache(tmp_path).hold("d1", make) as kept:
            return (kept.path / "thing").read_text()

    first = asyncio.create_task(want())
    await began.wait()
    second = asyncio.create_task(want())
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(first, second) == ["whole", "whole"]
    assert len(calls) == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncio.CancelledError()])
async def test_half_made_is_never_there(tmp_path, error):
    async def half(directory: Path) -> None:
        (directory / "thing").write_text("ha")
        raise error

    with pytest.raises(type(error)):
        async with cache(tmp_path).hold("d1", half):
            pass
    assert cache(tmp_path).digests() == ()
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == []

    make, _ = maker()
    async with cache(tmp_path).hold("d1", make) as kept:
        assert (kept.path / "thing").read_text() == "whole"


async def test_what_a_kill_left_is_thrown_away(tmp_path):
    left = tmp_path / "cache" / ".making.d1"
    left.mkdir(parents=True)
    (left / "rubbish").write_text("x")
    make, _ = maker()
    async with cache(tmp_path).hold("d1", make) as kept:
        assert [p.name for p in kept.path.iterdir()] == ["thing"]


async def test_the_oldest_go_and_what_is_held_stays(tmp_path):
    store = cache(tmp_path, keep=2)
    make, _ = maker()
    async with store.hold("held", make):
        for number, digest in enumerate(("a", "b", "c")):
            async with store.hold(digest, make) as kept:
                pass
            os.utime(kept.path, (number, number))
        assert store.digests() == ("b", "c", "held") or "held" in store.digests()
        assert "a" not in store.digests()
    store.prune()
    assert len(store.digests()) <= 2


async def test_pruning_leaves_no_locks_behind(tmp_path):
    store = cache(tmp_path, keep=1)
    make, _ = maker()
    for digest in ("a", "b", "c"):
        async with store.hold(digest, make):
            pass
    assert store.digests() == ("c",)
    assert sorted(p.name for p in store.base.iterdir()) == [".c.lock", "c"]


async def test_no_room_is_refused_before_making(tmp_path):
    make, calls = maker()
    with pytest.raises(PrerequisiteError, match="disk space") as caught:
        async with cache(tmp_path, needs=1 << 60).hold("d1", make):
            pass
    assert calls == []
    assert caught.value.hint


async def test_what_is_there_needs_no_room(tmp_path):
    make, _ = maker()
    async with cache(tmp_path).hold("d1", make):
        pass
    async with cache(tmp_path, needs=1 << 60).hold("d1", make) as kept:
        assert not kept.fresh


async def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    make, _ = maker()
    with pytest.raises(PrerequisiteError, match="cannot be made"):
        async with cache(tmp_path).hold("d1", make):
            pass


def test_a_lock_is_seen_and_released(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    descriptor = try_lock(path)
    assert descriptor is not None
    assert try_lock(path) is None
    assert is_held(path)
    os.close(descriptor)
    assert not is_held(path)


def test_shared_locks_go_together_and_keep_others_out(tmp_path):
    path = tmp_path / "lock"
    first, second = try_lock(path, shared=True), try_lock(path, shared=True)
    assert first is not None
    assert second is not None
    assert try_lock(path) is None
    os.close(first)
    os.close(second)
