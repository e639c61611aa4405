"""The cache by digest: made once, whole or not at all, bounded."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.guests.images.cache import DigestCache, sweep
from agency.locks import is_held, try_lock


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


async def test_another_digests_half_made_rest_goes_from_every_cache_but_not_one_under_way(tmp_path):
    left = tmp_path / "cache" / ".making.d2"
    elsewhere = tmp_path / "other" / ".making.d3"
    under_way = tmp_path / "other" / ".making.d4"
    for path in (left, elsewhere, under_way):
        path.mkdir(parents=True)
    held = try_lock(tmp_path / "other" / ".d4.lock")
    make, _ = maker()
    async with cache(tmp_path).hold("d1", make):
        left.mkdir(exist_ok=True)  # a run for another digest was killed after this was made
    assert sorted(sweep(tmp_path)) == [".making.d2", ".making.d3"]
    assert not left.exists()
    assert not elsewhere.exists()
    assert under_way.exists(), "whose lock is held is being made"
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [".d1.lock", "d1"]
    os.close(held)


def test_nothing_is_swept_where_nothing_is(tmp_path):
    assert sweep(tmp_path / "none") == ()


def test_a_removal_that_is_cut_short_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    store = cache(tmp_path, keep=1)
    for name in ("old", "new"):
        (store.base / name).mkdir(parents=True)
        (store.base / name / "thing").write_text("whole")
    os.utime(store.base / "old", (1, 1))

    def cut_short(directory: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        store.prune(spare="new")
    assert "old" not in store.digests()
    monkeypatch.undo()
    assert store.sweep() == (".making.old",)
    assert not (store.base / ".making.old").exists()


def test_pruning_bears_what_another_run_removes_meanwhile(tmp_path, monkeypatch):
    store = cache(tmp_path, keep=1)
    for name in ("a", "b"):
        (store.base / name).mkdir(parents=True)
    gone = store.base / "gone"
    monkeypatch.setattr(DigestCache, "_whole", lambda _: iter([gone, *store.base.glob("[ab]")]))
    assert store.prune(spare="a")
    assert sorted(p.name for p in store.base.glob("[ab]")) == ["a"]


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
    assert not path.exists(), "asking makes nothing"
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
