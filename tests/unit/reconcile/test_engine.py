"""The engine, with a reconciler of a world that is a dictionary."""

import asyncio
import fcntl
import os
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import AgencyError, ExitCode, PrerequisiteError
from agency.reconcile.engine.contract import Change, ReconcileError
from agency.reconcile.engine.engine import MAX_ROUNDS, Engine, Limits, Outcome
from agency.secrets.values import SecretValue


@dataclass(frozen=True, kw_only=True)
class Set(Change):
    key: str
    value: str


@dataclass
class World:
    """Brings a dictionary to `wanted`; keys are parts up to their dot."""

    wanted: dict[str, str]
    world: dict[str, str] = field(default_factory=dict)
    faults: dict[str, AgencyError] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    applied: list[str] = field(default_factory=list)
    lying: bool = False
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    inside: int = 0
    most_inside: int = 0

    def secrets(self):
        return (SecretValue(self.secret),) if self.secret else ()

    async def observe(self):
        if self.gate is not None:
            self.entered.set()
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            await asyncio.sleep(0)
            await self.gate.wait()
            self.inside -= 1
        return dict(self.world)

    def plan(self, observed):
        return tuple(
            Set(
                part=key.partition(".")[0],
                what=key,
                before=observed.get(key, "absent"),
                after=value,
                key=key,
                value=value,
                blocked=self.blocked.get(key),
            )
            for key, value in sorted(self.wanted.items())
            if observed.get(key) != value
        )

    async def apply(self, change):
        if change.key in self.faults:
            raise self.faults[change.key]
        self.applied.append(change.key)
        if not self.lying:
            self.world[change.key] = change.value


def run(world, place, *, check=False, limits=None):
    return asyncio.run(Engine("world", world, place, limits=limits or Limits()).run(check=check))


def test_brings_the_world_to_what_is_wanted_and_then_does_nothing(tmp_path):
    world = World({"a.x": "1", "b.y": "2"}, {"b.y": "9", "other": "kept"})
    report = run(world, tmp_path)
    assert report.outcome is Outcome.CHANGED
    assert [(c.what, c.before, c.after) for c in report.applied] == [
        ("a.x", "absent", "1"),
        ("b.y", "9", "2"),
    ]
    assert world.world == {"a.x": "1", "b.y": "2", "other": "kept"}

    world.applied.clear()
    report = run(world, tmp_path)
    assert (report.outcome, report.exit_code, world.applied) == (Outcome.UNCHANGED, 0, [])


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")),
)
def test_any_world_converges_and_a_second_run_writes_nothing(
    tmp_path_factory, wanted, world_before
):
    place = tmp_path_factory.mktemp("lock")
    world = World(wanted, world_before)
    assert run(world, place).exit_code == 0
    assert world.world | wanted == world.world
    world.applied.clear()
    assert run(world, place).outcome is Outcome.UNCHANGED
    assert world.applied == []


def test_a_check_applies_nothing_and_says_what_differs(tmp_path):
    world = World({"a.x": "1"})
    report = run(world, tmp_path, check=True)
    assert (report.outcome, report.exit_code) == (Outcome.DRIFT, ExitCode.BAD)
    assert [c.as_dict() for c in report.pending] == [
        {"part": "a", "what": "a.x", "from": "absent", "to": "1"}
    ]
    assert world.world == {}
    world.world["a.x"] = "1"
    assert run(world, tmp_path, check=True).exit_code == ExitCode.DONE


def test_a_failure_leaves_out_its_part_and_lets_the_others_go_on(tmp_path):
    world = World({"a.1": "x", "a.2": "x", "b.1": "x"})
    world.faults["a.1"] = ReconcileError("no")
    report = run(world, tmp_path)
    assert (report.outcome, report.exit_code) == (Outcome.FAILED, ExitCode.BAD)
    assert world.applied == ["b.1"]
    assert [f.change.what for f in report.failures] == ["a.1"]
    assert [c.what for c in report.pending] == ["a.1", "a.2"]

    world.faults.clear()
    assert run(world, tmp_path).outcome is Outcome.CHANGED
    assert world.applied == ["b.1", "a.1", "a.2"]


def test_a_blocked_change_is_never_applied_and_fails_with_its_reason(tmp_path):
    world = World({"a.1": "x", "b.1": "x"}, blocked={"a.1": "somebody uses it"})
    report = run(world, tmp_path)
    assert report.exit_code == ExitCode.BAD
    assert report.failures[0].error.message == "somebody uses it"
    assert world.applied == ["b.1"]


def test_an_apply_that_changes_nothing_is_found_out(tmp_path):
    world = World({"a.1": "x"}, lying=True)
    report = run(world, tmp_path)
    assert (report.outcome, report.exit_code) == (Outcome.FAILED, ExitCode.BAD)
    assert [c.what for c in report.pending] == ["a.1"]
    assert world.applied == ["a.1"]  # the same plan twice is no progress


def test_rounds_are_bounded(tmp_path):
    class Restless(World):
        async def apply(self, change):
            self.applied.append(change.key)
            self.wanted = {f"a.{len(self.applied)}": "x"}

    world = Restless({"a.0": "x"})
    report = run(world, tmp_path)
    assert report.outcome is Outcome.FAILED
    assert len(world.applied) == MAX_ROUNDS


def test_what_shows_itself_after_a_change_is_done_in_a_further_round(tmp_path):
    class Stairs(World):
        def plan(self, observed):
            return super().plan(observed)[:1]

    world = Stairs({"a.1": "x", "a.2": "x", "a.3": "x"})
    report = run(world, tmp_path)
    assert (report.outcome, report.rounds) == (Outcome.CHANGED, 3)


def test_a_missing_prerequisite_is_exit_status_3(tmp_path):
    world = World({"a.1": "x"}, faults={"a.1": PrerequisiteError("no docker")})
    assert run(world, tmp_path).exit_code == ExitCode.PREREQUISITE
    world = World(
        {"a.1": "x", "b.1": "x"},
        faults={"a.1": PrerequisiteError("no docker"), "b.1": ReconcileError("no")},
    )
    assert run(world, tmp_path).exit_code == ExitCode.BAD


def test_a_run_that_hangs_ends_and_says_so(tmp_path):
    class Hanging(World):
        async def observe(self):
            await asyncio.Event().wait()

    with pytest.raises(ReconcileError, match=r"no end after 0\.05 s"):
        run(Hanging({}), tmp_path, limits=Limits(run_s=0.05))


def test_secrets_are_removed_from_changes_and_errors(tmp_path):
    secret = "hunter2-hunter2"
    world = World({"a.1": f"token {secret}", "b.1": "x"}, secret=secret)
    world.faults["b.1"] = ReconcileError(f"refused {secret}", where=secret, hint=secret)
    report = run(world, tmp_path)
    assert report.failures
    assert secret not in repr(report.as_dict())
    assert "[***]" in report.applied[0].after

    class Telling(World):
        async def observe(self):
            raise ReconcileError(f"bad {secret}", where=secret, hint=secret)

    with pytest.raises(ReconcileError) as told:
        run(Telling({}, secret=secret), tmp_path)
    assert secret not in f"{told.value} {told.value.args} {told.value.as_dict()}"


async def test_two_runs_do_not_meet(tmp_path):
    world = World({"a.1": "x"}, gate=asyncio.Event())
    runs = [asyncio.create_task(Engine("w", world, tmp_path).run()) for _ in range(2)]
    await world.entered.wait()
    world.gate.set()
    reports = await asyncio.gather(*runs)
    assert world.most_inside == 1
    assert sorted(r.outcome for r in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]
    assert world.applied == ["a.1"]


async def test_a_lock_that_another_holds_too_long_is_an_error(tmp_path):
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        world = World({"a.1": "x"})
        with pytest.raises(ReconcileError, match="another run has held the lock"):
            await Engine("w", world, tmp_path, limits=Limits(lock_s=0.1)).run()
        assert world.applied == []
    finally:
        os.close(held)
    assert (await Engine("w", world, tmp_path).run()).outcome is Outcome.CHANGED


async def test_the_lock_is_not_a_link_that_another_user_laid(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrerequisiteError, match="cannot use the lock"):
        await Engine("w", World({}), tmp_path).run()
    assert not (tmp_path / "elsewhere").exists()
