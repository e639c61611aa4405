"""Leases: bounded, expiring, and whole after a crash at any point."""

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import rundir
from agency.clock import Clock
from agency.errors import AgencyError, BadInputError, PrerequisiteError, UsageError
from agency.sandbox.lease import Bounds, Lease, Size, State, parse_ttl
from agency.sandbox.manager import ExpiryError, Manager
from agency.sandbox.source import Source, fetch, parse_source
from agency.sandbox.store import Leases, NoRoomError

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeMachines:
    """Machines that exist in a set, and fail where a test says so."""

    there: set[str] = field(default_factory=set)
    fails_after: str | None = None  # "begin" or "make"
    stuck: set[str] = field(default_factory=set)  # what cannot be destroyed
    meanwhile: Callable[[str], Awaitable[object]] | None = None  # at "make" and "existing"

    async def make(self, lease: Lease, size: Size, source: Path) -> int:
        if self.fails_after == "begin":
            raise AgencyError("no")
        self.there.add(lease.guest)
        if self.fails_after == "make":
            raise AgencyError("no")
        if self.meanwhile:
            await self.meanwhile("make")
        return 20000 + len(self.there)

    async def destroy(self, name: str) -> None:
        if name in self.stuck:
            raise AgencyError(f"{name} is stuck")
        self.there.discard(name)

    async def existing(self) -> frozenset[str]:
        if self.meanwhile:
            await self.meanwhile("existing")
        return frozenset(self.there)


@dataclass
class Bench:
    manager: Manager
    machines: FakeMachines
    now: list[float]
    source: Source

    async def up(self, ttl_s: float = 100) -> Lease:
        return await self.manager.up(self.source, ttl_s, Size())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    checkout = tmp_path / "checkout"
    for name in ("requirements", "modules/portable"):
        (checkout / name).mkdir(parents=True)
    (checkout / "requirements/guest.txt").touch()
    (checkout / "pyproject.toml").touch()
    now, names = [1000.0], iter(f"lease-{n}" for n in range(100))
    machines = FakeMachines()
    manager = Manager(
        Leases(tmp_path / "leases.db", Bounds(leases=2)),
        machines,
        tmp_path / "state",
        Clock(wall=lambda: now[0]),
        new_name=lambda: next(names),
    )
    return Bench(manager, machines, now, parse_source(str(checkout)))


async def test_a_lease_is_made_listed_and_ended(bench: Bench) -> None:
    lease = await bench.up()
    assert lease.state is State.READY
    assert lease.url == "http://127.0.0.1:20001"
    assert bench.manager.leases.all() == (lease,)
    assert bench.machines.there == {lease.guest}
    assert await bench.manager.down(lease.name) is True
    assert await bench.manager.down(lease.name) is False
    assert bench.machines.there == set()
    assert bench.manager.leases.all() == ()


async def test_no_more_than_allowed(bench: Bench) -> None:
    await bench.up()
    second = await bench.up()
    with pytest.raises(NoRoomError, match="3 leases, and 2"):
        await bench.up()
    assert len(bench.machines.there) == 2
    await bench.manager.down(second.name)
    await bench.up()


async def test_no_larger_than_allowed(bench: Bench) -> None:
    with pytest.raises(NoRoomError, match="memory"):
        await bench.manager.up(bench.source, 100, Size(memory_mb=99_999))
    with pytest.raises(NoRoomError, match="cpus"):
        await bench.manager.up(bench.source, 100, Size(cpus=99))
    assert bench.manager.leases.all() == ()


async def test_a_lease_ends_when_its_time_is_up_and_not_before(bench: Bench) -> None:
    lease = await bench.up(ttl_s=100)
    bench.now[0] = 1099.9
    assert await bench.manager.expire() == ()
    bench.now[0] = 1100
    assert await bench.manager.expire() == (lease.name,)
    assert bench.machines.there == set()
    assert await bench.manager.expire() == ()


@pytest.mark.parametrize("point", ["begin", "make"])
async def test_what_cannot_be_made_leaves_nothing(bench: Bench, point: str) -> None:
    bench.machines.fails_after = point
    with pytest.raises(AgencyError, match="no"):
        await bench.up()
    assert bench.machines.there == set()
    assert bench.manager.leases.all() == ()
    assert [*(bench.manager.state / "runs").glob("lease-*")] == []


async def test_a_killed_maker_leaves_what_expiry_removes(bench: Bench) -> None:
    lease = replace(await bench.up(), name="lease-killed", state=State.CREATING, port=None)
    bench.manager.leases.add(lease)
    bench.machines.there.add(lease.guest)
    run = rundir.create(bench.manager.state / "runs", lease.name)
    assert await bench.manager.expire() == (), "its maker still lives"
    run.release()
    assert await bench.manager.expire() == (lease.name,)
    assert lease.guest not in bench.machines.there


async def test_a_machine_without_a_lease_is_removed(bench: Bench) -> None:
    bench.machines.there.add("agency-lease-orphan")
    lease = await bench.up()
    assert bench.machines.there == {lease.guest}


async def test_a_lease_made_while_expiry_looks_keeps_its_machine(bench: Bench) -> None:
    """Looking may take seconds: what is leased meanwhile is not taken for left over."""
    made: list[Lease] = []

    async def lease_one(point: str) -> None:
        if point == "existing" and not made:
            bench.machines.meanwhile = None
            made.append(await bench.up())

    bench.machines.meanwhile = lease_one
    assert await bench.manager.expire() == ()
    assert bench.machines.there == {made[0].guest}
    assert bench.manager.leases.all() == (made[0],)


@pytest.mark.parametrize("ended_by", ["down", "expiry"])
async def test_a_lease_that_is_ended_while_it_is_made_leaves_nothing(
    bench: Bench, ended_by: str
) -> None:
    async def end(point: str) -> None:
        (lease,) = bench.manager.leases.all()
        machines = set(bench.machines.there)
        bench.machines.there.clear()  # its end finds nothing to remove yet
        if ended_by == "down":
            await bench.manager.down(lease.name)
        else:
            bench.machines.meanwhile = None
            bench.now[0] += 1000
            assert await bench.manager.expire() == (lease.name,)
        bench.machines.there |= machines

    async def in_time(point: str) -> None:
        if point == "make":
            await end(point)

    bench.machines.meanwhile = in_time
    with pytest.raises(UsageError, match="while it was being made"):
        await bench.up()
    assert bench.machines.there == set()
    assert bench.manager.leases.all() == ()


def test_only_a_lease_that_is_there_becomes_ready(bench: Bench) -> None:
    assert bench.manager.leases.ready("lease-none", 20001) is False
    assert bench.manager.leases.all() == ()


async def test_what_is_stuck_stands_in_nobodys_way(bench: Bench) -> None:
    first, second = await bench.up(ttl_s=100), await bench.up(ttl_s=200)
    bench.machines.there |= {"agency-lease-a", "agency-lease-b"}
    bench.machines.stuck |= {first.guest, "agency-lease-a"}
    bench.now[0] = 2000
    with pytest.raises(ExpiryError) as caught:
        await bench.manager.expire()
    assert first.name in caught.value.message
    assert "agency-lease-a is stuck" in caught.value.message
    assert bench.machines.there == bench.machines.stuck
    assert bench.manager.leases.all() == (first,), "what is there still counts"
    third = await bench.up()
    assert third.guest in bench.machines.there
    with pytest.raises(NoRoomError, match=f"{first.name}.*is stuck"):
        await bench.up()
    bench.machines.stuck.clear()
    assert set(await bench.manager.expire()) == {first.name, "agency-lease-a"}
    assert second.guest not in bench.machines.there


async def test_what_a_killed_maker_had_fetched_is_removed(bench: Bench) -> None:
    runs = bench.manager.state / "runs"
    living, dead = rundir.create(runs, "lease-living"), rundir.create(runs, "lease-dead")
    (dead.path / "checkout").mkdir()
    dead.release()
    await bench.manager.expire()
    assert [path.name for path in runs.glob("lease-*")] == ["lease-living"]
    living.remove()


async def test_expiry_makes_room(bench: Bench) -> None:
    await bench.up(ttl_s=100)
    await bench.up(ttl_s=100)
    bench.now[0] = 2000
    assert (await bench.up()).state is State.READY


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "leases.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BadInputError, match="newer"):
        Leases(file, Bounds()).all()


def test_a_store_that_is_no_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "leases.db"
    file.write_bytes(b"no database at all, but long enough to be looked at" * 10)
    with pytest.raises(PrerequisiteError, match="cannot be kept") as caught:
        Leases(file, Bounds()).all()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_times_to_live(text: str, seconds: float) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2 h", "59s", "25h", "2d", "1.5h", "9999999s"]
)
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ttl(text)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 60 <= parse_ttl(text) <= 86400


def test_sources(tmp_path: Path) -> None:
    assert parse_source(str(tmp_path)) == Source(str(tmp_path), str(tmp_path), None)
    assert parse_source(f"/srv/repo.git@{SHA}").commit == SHA
    assert (
        parse_source(f"ssh://git@forge.example/a.git@{SHA}").place
        == "ssh://git@forge.example/a.git"
    )


@pytest.mark.parametrize(
    "text", ["", "/nowhere", "repo@main", f"repo@{SHA[:39]}", f"@{SHA}", f"--upload-pack=x@{SHA}"]
)
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_source(text)


def test_a_directory_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="pyproject"):
        fetch(parse_source(str(tmp_path)), tmp_path)
