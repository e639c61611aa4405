"""Looks at a project of a FAKE forge: each comment is settled once, by the forge's own clock."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fake_forge import ADA, BOT, EVE, sha

from agency.forge import ForgeError, ForgeUnreachableError, MergeState, User
from agency.recipes.bridge.looking import ATTEMPTS, OVERLAP_S
from agency.recipes.bridge.memory import STRANGER_REPLIES, Look
from agency.recipes.outcome import STAGES
from agency.recipes.record.run import Order, RunState

DAY_S = 24 * 3600


async def test_a_comment_orders_a_run_of_the_head(watched):
    said = watched.forge.say("!testme")
    await watched.look()
    (run,) = await watched.all_runs()
    assert run.order == Order(
        recipe="wiki",
        project="team/wiki",
        pull_request=7,
        commit=sha("a"),
        head_ref="refs/pull/7/head",
        clone_url="https://forge.example.org/team/wiki.git",
        stages=STAGES,
        requester="ada",
        comment=said,
    )
    assert run.state is RunState.QUEUED


async def test_what_was_said_before_the_first_look_starts_nothing(bench):
    bench.forge.say("!testme", ago_s=5)
    await bench.look()
    bench.pass_time(5)
    await bench.look()
    assert await bench.all_runs() == []
    bench.forge.say("!testme")
    await bench.look()
    assert len(await bench.all_runs()) == 1, "positive control"


async def test_a_comment_in_the_second_of_the_first_look_is_not_lost(bench):
    await bench.look()
    bench.forge.say("!testme")
    bench.pass_time(1)
    await bench.look()
    assert len(await bench.all_runs()) == 1


async def test_looking_again_and_starting_again_doubles_nothing(watched):
    watched.forge.say("!testme")
    bridge = watched.bridge()
    for _ in range(3):
        await watched.look(bridge)
        await watched.look()
        watched.pass_time(20)
    assert len(await watched.all_runs()) == 1
    watched.forge.say("!testme")
    await watched.look()
    assert len(await watched.all_runs()) == 2, "saying it again runs it again"


async def test_both_ways_at_once_are_one_run(watched):
    watched.forge.say("!testme")
    await asyncio.gather(*(watched.look() for _ in range(8)))
    assert len(await watched.all_runs()) == 1


async def test_what_was_said_while_it_was_down_is_run_but_not_for_ever(watched):
    watched.forge.say("!testme")
    watched.pass_time(DAY_S - 10)
    watched.forge.open("team/wiki", 8)
    watched.forge.say("!testme", number=8)
    watched.pass_time(20)
    await watched.look()
    assert [run.order.pull_request for run in await watched.all_runs()] == [8]


async def test_the_bound_of_age_is_configured(watched):
    watched.settings = {"maxAgeHours": 48}
    watched.forge.say("!testme")
    watched.pass_time(DAY_S + 10)
    await watched.look()
    assert len(await watched.all_runs()) == 1


@pytest.mark.parametrize("jump_s", [-10 * DAY_S, -3600, 3600, 10 * DAY_S])
async def test_a_jump_of_this_machines_clock_changes_nothing(watched, jump_s):
    watched.forge.say("!testme")
    watched.wall_s += jump_s
    await watched.look()
    watched.wall_s -= jump_s
    watched.forge.say("!testme")
    await watched.look()
    assert len(await watched.all_runs()) == 2


@pytest.mark.parametrize("jump_s", [-DAY_S, -2 * 3600, 2 * 3600])
@pytest.mark.parametrize("down_s", [0, 600])
async def test_a_jump_of_the_forges_clock_loses_nothing(watched, jump_s, down_s):
    bridge = watched.bridge()
    await watched.look(bridge)
    first = await bridge.looker.memory.look("team/wiki")
    # So that a jump back by two hours does not end before the first look.
    watched.pass_time(3 * 3600)
    await watched.look(bridge)
    watched.forge.time_s += jump_s
    watched.forge.say("!testme")
    if jump_s == -DAY_S:  # now even the first look is in the future
        down_s = 0
    watched.pass_time(61 + down_s)
    await watched.look(bridge)
    watched.pass_time(20)
    watched.forge.say("!testme")
    await watched.look(bridge)
    assert len(await watched.all_runs()) == 2
    assert (await bridge.looker.memory.look("team/wiki")).first_s == first.first_s


async def test_a_comment_that_becomes_visible_late_is_seen(watched):
    await watched.look()
    watched.pass_time(20)
    await watched.look()
    watched.forge.say("!testme", ago_s=OVERLAP_S - 50)
    await watched.look()
    assert len(await watched.all_runs()) == 1


async def test_a_project_that_is_enrolled_again_is_looked_at_anew(watched):
    bridge = watched.bridge()
    await bridge.looker.memory.keep_only(())
    watched.forge.say("!testme", ago_s=30)
    await watched.look(bridge)
    watched.pass_time(20)
    await watched.look(bridge)
    assert await watched.all_runs() == []


async def test_talk_and_bots_start_nothing(watched):
    say = watched.forge.say
    for text in ("!testmexyz", "> !testme", "```\n!testme\n```", "please !testme"):
        say(text)
    for by in (BOT, User(9, "renovate-bot"), User(-2, "gitea-actions")):
        say("!testme", by)
        watched.forge.members.add(by.name)
    await watched.look()
    assert await watched.all_runs() == []
    await watched.tell()
    assert len(watched.forge.answers()) == 1, "nothing but what the bot said above is there"
    watched.settings = {"allow": ["Renovate-Bot"]}
    await watched.look()
    assert [run.order.requester for run in await watched.all_runs()] == ["renovate-bot"]


async def test_a_stranger_is_told_once_and_gets_no_run(watched):
    for _ in range(3):
        watched.forge.say("!testme", EVE)
        await watched.look()
        await watched.tell()
    assert await watched.all_runs() == []
    (answer,) = watched.forge.answers()
    assert "Only members of `team`" in answer


async def test_answers_to_strangers_are_bounded(watched):
    for number in range(20):
        watched.forge.open(number=number + 10)
        watched.forge.say("!testme", User(50 + number, f"eve{number}"), number=number + 10)
    await watched.look()
    await watched.tell()
    assert len(watched.forge.answers()) == STRANGER_REPLIES
    watched.pass_time(3601)
    watched.forge.open(number=99)
    watched.forge.say("!testme", EVE, number=99)
    await watched.look()
    await watched.tell()
    assert len(watched.forge.answers()) == STRANGER_REPLIES + 1


async def test_who_is_on_the_list_needs_no_membership(watched):
    watched.settings = {"allow": ["EVE"]}
    watched.forge.say("!testme", EVE)
    await watched.look()
    assert len(await watched.all_runs()) == 1
    assert watched.forge.calls["is_member"] == 0


async def test_a_person_owns_their_own_repository(bench):
    bench.projects = ("Eve/wiki",)
    bench.forge.open("Eve/wiki")
    await bench.look(project="Eve/wiki")
    bench.forge.say("!testme", EVE, project="Eve/wiki")
    bench.forge.say("!testme", ADA, project="Eve/wiki")
    await bench.look(project="Eve/wiki")
    assert [run.order.requester for run in await bench.all_runs()] == ["eve"]


@pytest.mark.parametrize(
    "error",
    [
        ForgeError("HTTP 500", where="GET", status=500),
        ForgeError("without JSON", where="GET", status=200),
        ForgeError("HTTP 429", where="GET", status=429),
        ForgeUnreachableError("silent", where="x"),
    ],
)
async def test_nobody_is_a_member_while_the_forge_does_not_say_so(watched, error):
    watched.forge.say("!testme")
    watched.forge.fault = lambda call, _: error if call == "is_member" else None
    bridge = watched.bridge()
    for _ in range(2):
        with contextlib.suppress(ForgeError, ForgeUnreachableError):
            await watched.look(bridge)
        watched.pass_time(20)
    assert await watched.all_runs() == []
    watched.forge.fault = lambda *_: None
    await watched.look(bridge)
    assert len(await watched.all_runs()) == 1, "it was not lost"


@pytest.mark.parametrize("status", [303, 403])
async def test_a_forge_that_keeps_its_members_back_is_told_of(watched, status):
    error = ForgeError(f"HTTP {status}", where="GET", status=status)
    watched.forge.fault = lambda call, _: error if call == "is_member" else None
    watched.forge.say("!testme")
    watched.forge.say("!testme")
    await watched.look()
    await watched.tell()
    assert await watched.all_runs() == []
    (answer,) = watched.forge.answers()
    assert "does not let me see" in answer


async def test_an_edited_comment_starts_nothing_and_says_so(watched):
    said = watched.forge.say("!testem")
    await watched.look()
    watched.pass_time(30)
    watched.forge.change(said, "!testme")
    await watched.look()
    await watched.tell()
    assert await watched.all_runs() == []
    assert "Edited comments" in watched.forge.answers()[0]


async def test_editing_what_was_run_changes_nothing(watched):
    said = watched.forge.say("!testme")
    await watched.look()
    watched.pass_time(30)
    watched.forge.change(said, "!testme install")
    await watched.look()
    await watched.tell()
    assert len(await watched.all_runs()) == 1
    assert len(watched.forge.answers()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": MergeState.CLOSED}, "is closed"),
        ({"state": MergeState.MERGED}, "is merged"),
        ({"state": MergeState.CLOSED, "head_gone": True, "from_fork": True}, "was removed"),
    ],
)
async def test_what_is_not_open_is_not_run(watched, change, words):
    watched.forge.open(**change)
    watched.forge.say("!testme")
    await watched.look()
    await watched.tell()
    assert await watched.all_runs() == []
    assert words in watched.forge.answers()[0]


async def test_a_push_to_a_fork_after_the_comment_is_not_run(watched):
    watched.forge.open(from_fork=True)
    watched.forge.pushed.add(("team/wiki", watched.forge.say("!testme")))
    await watched.look()
    await watched.tell()
    assert await watched.all_runs() == []
    assert "got commits after the comment" in watched.forge.answers()[0]
    watched.forge.say("!testme")
    await watched.look()
    assert len(await watched.all_runs()) == 1


async def test_a_push_to_a_branch_of_ours_is_run_and_said(watched):
    watched.forge.pushed.add(("team/wiki", watched.forge.say("!testme")))
    await watched.look()
    await watched.tell()
    assert len(await watched.all_runs()) == 1
    assert "got commits after the comment; this tests the newest" in watched.forge.answers()[0]


async def test_unknown_stages_are_answered_with_what_is_possible(watched):
    watched.forge.say("!testme instal")
    await watched.look()
    await watched.tell()
    (answer,) = watched.forge.answers()
    assert "`instal` is no stage" in answer
    assert all(stage in answer for stage in STAGES)
    assert await watched.all_runs() == []


async def test_stop_ends_what_is_queued_and_marks_what_runs(watched):
    watched.forge.say("!testme")
    await watched.look()
    running = await watched.runs.take(1)
    watched.forge.say("!testme")
    watched.forge.say("!testme stop", EVE)
    await watched.look()
    assert [run.stop_asked_by for run in await watched.all_runs()] == [None, None]
    watched.forge.say("!testme stop")
    await watched.look()
    await watched.tell()
    first, second = await watched.all_runs()
    assert (first.id, first.stop_asked_by) == (running.id, "ada")
    assert (second.state, second.reason) == (RunState.CANCELLED, "by ada")
    (answer,) = (text for text in watched.forge.answers() if "Stopping" in text)
    assert first.id in answer
    assert second.id in answer


async def test_a_newer_commit_replaces_what_is_queued_and_its_comment_says_so(watched):
    watched.forge.say("!testme")
    await watched.look()
    await watched.tell()
    watched.forge.open(head_sha=sha("b"))
    watched.forge.say("!testme")
    await watched.look()
    await watched.tell()
    older, newer = await watched.all_runs()
    assert (older.state, newer.order.commit) == (RunState.REPLACED, sha("b"))
    texts = watched.forge.answers()
    assert "was replaced" in texts[0]
    assert sha("b")[:12] in texts[0]
    assert "is queued" in texts[1]


async def test_one_comment_that_cannot_be_judged_holds_up_no_other(watched):
    bridge = watched.bridge()
    watched.forge.open("team/wiki", 8)
    bad = ForgeError("HTTP 500", where="GET", status=500)
    watched.forge.say("!testme", number=8)
    watched.forge.say("!testme", number=7)
    real = watched.forge.merge_request

    async def merge_request(project, number):
        if number == 8:
            raise bad
        return await real(project, number)

    watched.forge.merge_request = merge_request
    for _ in range(ATTEMPTS):
        assert "faults" not in "".join(watched.forge.answers())
        await watched.look(bridge)
        watched.pass_time(20)
        assert [run.order.pull_request for run in await watched.all_runs()] == [7]
        await watched.tell(bridge)
    assert any("answered with faults" in text for text in watched.forge.answers())


async def test_more_comments_than_a_list_holds_are_all_read(watched):
    for number in range(2500):
        watched.forge.say("!testme" if number == 1700 else "talk", ADA if number == 1700 else EVE)
        watched.forge.time_s += 1
    watched.steady_s += 2500
    bridge = watched.bridge()
    for _ in range(4):
        await watched.look(bridge)
    assert len(await watched.all_runs()) == 1
    assert (await bridge.looker.memory.look("team/wiki")) == Look(
        watched.forge.time_s - 2560, watched.forge.time_s
    )


async def test_an_idle_look_is_one_call(watched):
    bridge = watched.bridge()
    await watched.look(bridge)
    watched.forge.calls.clear()
    for _ in range(3):
        watched.pass_time(5)
        await watched.look(bridge)
    assert watched.forge.calls == {"comments_since": 3}


async def test_a_comment_without_a_moment_is_none_of_ours(watched):
    said = watched.forge.say("!testme")
    (only,) = watched.forge.said["team/wiki"]
    bare = replace(only.comment, created=None, updated=datetime.now(UTC))
    watched.forge.said["team/wiki"] = [replace(only, comment=bare)]
    await watched.look()
    assert await watched.all_runs() == []
    assert said
