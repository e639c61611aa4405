"""Answers at a FAKE forge: each one once, edits bounded, faults outlived."""

from __future__ import annotations

import contextlib
import json

import pytest

from agency.forge import CommitState, ForgeError, ForgeUnreachableError, Reaction
from agency.recipes.record.run import RunState

BOOM = ForgeError("HTTP 500", where="x", status=500)


class Killed(BaseException):
    """The end of the process at a call of the forge."""


async def ordered(bench):
    said = bench.forge.say("!testme")
    await bench.look()
    (run,) = await bench.all_runs()
    return said, run


async def test_a_run_is_told_from_its_order_to_its_end(watched):
    said, run = await ordered(watched)
    forge = watched.forge
    await watched.tell()
    assert (("team/wiki", said, Reaction.SEEN)) in forge.reactions
    assert "is queued" in forge.answers()[0]
    await watched.runs.take(1)
    await watched.tell()
    assert "is running" in forge.answers()[0]
    stages = [{"name": "install", "outcome": "pass", "seconds": 9}]
    await watched.runs.end(run.id, RunState.PASSED, result=json.dumps({"stages": stages}))
    await watched.tell()
    (answer,) = forge.answers()
    assert "**passed**" in answer
    assert "| `install` | `pass` | 9 s |" in answer
    told = [status.state for _, _, status in forge.statuses]
    assert told == [CommitState.PENDING, CommitState.RUNNING, CommitState.SUCCESS]
    url = f"https://ci.example.org/runs/{run.id}"
    assert {(sha, s.name, s.target_url) for _, sha, s in forge.statuses} == {
        (run.order.commit, "agency/recipes", url)
    }
    calls = forge.calls.copy()
    await watched.tell()
    assert forge.calls == calls, "nothing is told twice"
    assert list(forge.edits.values()) == [2]


async def test_a_run_that_ended_while_the_bridge_was_down_is_told_at_once(watched):
    _, run = await ordered(watched)
    await watched.runs.end(run.id, RunState.FAILED, reason="it broke")
    await watched.tell()
    assert "**failed**" in watched.forge.answers()[0]
    assert not watched.forge.edits


@pytest.mark.parametrize("call", ["react", "comment", "edit_comment", "set_status"])
async def test_a_fault_of_the_forge_is_outlived(watched, call):
    _, run = await ordered(watched)
    if call == "edit_comment":
        await watched.tell()
        await watched.runs.take(1)
    watched.forge.fault = lambda called, _: BOOM if called == call else None
    bridge = watched.bridge()
    for _ in range(3):
        with pytest.raises(ForgeError):
            await watched.tell(bridge)
    watched.forge.fault = lambda *_: None
    await watched.tell(bridge)
    assert len(watched.forge.answers()) == 1
    assert (await watched.runs.run(run.id)).told in ("queued", "running")
    assert sum(watched.forge.edits.values()) <= 1
    await watched.runs.end(run.id, RunState.FAILED, "it broke")
    await watched.tell()
    assert "it broke" in watched.forge.answers()[0]


async def test_an_answer_that_the_forge_took_in_silence_is_not_sent_twice(watched):
    _, run = await ordered(watched)
    watched.forge.say("!testme nonsense")
    await watched.look()
    watched.forge.lost_answers = 1
    with pytest.raises(ForgeError):
        await watched.tell()
    watched.forge.lost_answers = 1
    with pytest.raises(ForgeError):
        await watched.tell()
    await watched.tell()
    assert len(watched.forge.answers()) == 2
    assert (await watched.runs.run(run.id)).answer is not None


@pytest.mark.parametrize("step", range(1, 20))
@pytest.mark.parametrize("before", [True, False])
async def test_an_end_at_any_call_of_the_forge_loses_and_doubles_nothing(watched, step, before):
    """A new process goes on after each end: before the call had its effect, or after it."""
    watched.forge.say("!testme")
    watched.forge.say("!testme nonsense")
    left = step

    def fault(*_):
        nonlocal left
        left -= 1
        return Killed() if left == 0 else None

    watched.forge.fault = fault
    if not before:
        spoken = watched.forge.comment

        async def comment(*given):
            made = await spoken(*given)
            if left <= 0:
                watched.forge.comment = spoken
                raise Killed
            return made

        watched.forge.comment = comment
    for _ in range(3):
        with contextlib.suppress(Killed):
            await watched.look()
            await watched.tell()
    await watched.look()
    await watched.tell()
    assert len(await watched.all_runs()) == 1
    assert sorted(text.split("<!--")[1] for text in watched.forge.answers()) == [
        " agency-recipes: answer to 101 -->",
        " agency-recipes: answer to 102 -->",
    ]
    assert await watched.runs.untold() == ()


async def test_a_forge_that_takes_no_status_is_told_by_comments(watched):
    refused = ForgeError("HTTP 403", where="x", status=403)
    watched.forge.fault = lambda call, _: refused if call == "set_status" else None
    bridge = watched.bridge()
    _, run = await ordered(watched)
    await watched.tell(bridge)
    await watched.runs.take(1)
    await watched.tell(bridge)
    assert "is running" in watched.forge.answers()[0]
    assert watched.forge.calls["set_status"] == 1, "it is not asked again at once"
    watched.forge.fault = lambda *_: None
    watched.pass_time(3601)
    await watched.runs.end(run.id, RunState.PASSED)
    await watched.tell(bridge)
    assert [s.state for _, _, s in watched.forge.statuses] == [CommitState.SUCCESS]


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_a_comment_that_the_forge_does_not_take_is_given_up(watched, status):
    """The pull request was locked, or somebody removed the bot's comment."""
    refused = ForgeError(f"HTTP {status}", where="x", status=status)
    watched.forge.fault = lambda call, _: (
        refused if call in ("comment", "edit_comment", "react") else None
    )
    _, run = await ordered(watched)
    await watched.tell()
    await watched.runs.take(1)
    await watched.tell()
    assert watched.forge.answers() == []
    assert (await watched.runs.run(run.id)).told == "running"
    assert len(watched.forge.statuses) == 2
    assert watched.forge.calls["comment"] == 1


async def test_edits_are_bounded_by_the_changes_of_a_run(watched):
    _, run = await ordered(watched)
    await watched.tell()
    for _ in range(10):
        if await watched.runs.take(1) is None:
            break
        await watched.runs.begin(run.id, "builtin")
        for _ in range(5):
            await watched.tell()
        await watched.runs.requeue(run.id)
        for _ in range(5):
            await watched.tell()
    assert (await watched.runs.run(run.id)).state is RunState.ERROR
    assert sum(watched.forge.edits.values()) <= 6


async def test_a_silent_forge_is_told_later(watched):
    await ordered(watched)
    watched.forge.fault = lambda *_: ForgeUnreachableError("silent", where="x")
    with pytest.raises(ForgeUnreachableError):
        await watched.tell()
    watched.forge.fault = lambda *_: None
    await watched.tell()
    assert len(watched.forge.answers()) == 1
