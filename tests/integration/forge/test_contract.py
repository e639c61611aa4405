"""The contract of a forge, kept by a real Gitea and by a SIMULATED GitLab alike."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from agency.forge import (
    Access,
    CommitState,
    CommitStatus,
    Forge,
    ForgeError,
    HookEvent,
    MergeRequest,
    MergeState,
    NewMergeRequest,
    Reaction,
)
from agency.forge.gitea import session as gitea_session
from agency.forge.gitlab import session as gitlab_session

PROJECT = "team/app"
_numbers = itertools.count(1)


async def proposed(place: Any, forge: Forge) -> tuple[str, MergeRequest]:
    """Push a branch and make a merge request of it."""
    number = next(_numbers)
    branch = f"change-{number}"
    place.commit(branch, f"change {number}")
    new = NewMergeRequest(f"Change {number}", "why", branch, "main")
    return branch, await forge.open_merge_request(PROJECT, new)


async def merged(forge: Forge, request: MergeRequest) -> None:
    """Merge, when the forge has seen whether it can: Gitea says 405 until then."""
    for _ in range(100):
        try:
            return await forge.merge(PROJECT, request.number, request.head_sha, squash=True)
        except ForgeError as error:
            if error.status != 405:
                raise
        await asyncio.sleep(0.2)
    raise AssertionError("it never became ready to be merged")


async def test_a_project_of_a_group_is_made_by_its_members_alone(place, as_whom):
    owner = await as_whom("owner" if place.kind == "gitea" else "bot")
    made = await owner.create_project("team/wiki")
    assert made.path == "team/wiki"
    assert made.clone_url == f"{place.url}/team/wiki.git"
    with pytest.raises(ForgeError):
        await owner.create_project("nobody/wiki")
    with pytest.raises(ForgeError):
        await owner.create_project("team/app")
    stranger = await as_whom("stranger")
    with pytest.raises(ForgeError) as refused:
        await stranger.create_project("team/mine")
    assert refused.value.status in (403, 404)


async def test_a_merge_request_from_its_branch_to_its_merge(bot, place):
    before = await bot.branch_sha(PROJECT, "main")
    branch, request = await proposed(place, bot)
    assert request.state is MergeState.OPEN
    assert request.author.name == "bot"
    assert request.head_sha == await bot.branch_sha(PROJECT, branch)
    assert request.number in [each.number for each in await bot.open_merge_requests(PROJECT)]
    await merged(bot, request)
    assert (await bot.merge_request(PROJECT, request.number)).state is MergeState.MERGED
    assert await bot.branch_sha(PROJECT, "main") != before
    assert request.number not in [one.number for one in await bot.open_merge_requests(PROJECT)]


async def test_a_change_that_moved_is_not_merged(bot, place):
    branch, request = await proposed(place, bot)
    place.commit(branch, f"later {request.number}")
    await asyncio.sleep(1 if place.kind == "gitea" else 0)
    with pytest.raises(ForgeError) as caught:
        await merged(bot, request)
    assert caught.value.status == 409
    now = await bot.merge_request(PROJECT, request.number)
    assert (now.state, now.head_sha != request.head_sha) == (MergeState.OPEN, True)


async def test_who_may_only_read_merges_nothing(bot, place, as_whom):
    _, request = await proposed(place, bot)
    reader = await as_whom("reader")
    with pytest.raises(ForgeError):
        await reader.merge(PROJECT, request.number, request.head_sha, squash=True)
    assert (await bot.merge_request(PROJECT, request.number)).state is MergeState.OPEN


async def test_comments_are_read_changed_and_reacted_to(bot, place, as_whom):
    _, request = await proposed(place, bot)
    developer = await as_whom("developer")
    asked = await developer.comment(PROJECT, request.number, "!testme")
    answer = await bot.comment(PROJECT, request.number, "queued")
    await bot.edit_comment(PROJECT, request.number, answer.id, "passed")
    await bot.react(PROJECT, request.number, asked.id, Reaction.SEEN)
    await bot.react(PROJECT, request.number, asked.id, Reaction.SEEN)
    found = [(c.author.name, c.text) for c in await bot.comments(PROJECT, request.number)]
    assert found == [("developer", "!testme"), ("bot", "passed")]


async def test_a_strangers_hand_does_not_change_a_comment(bot, place, as_whom):
    _, request = await proposed(place, bot)
    said = await bot.comment(PROJECT, request.number, "as it was")
    reader = await as_whom("reader")
    with pytest.raises(ForgeError) as caught:
        await reader.edit_comment(PROJECT, request.number, said.id, "as it never was")
    assert caught.value.status in (403, 404)
    assert [c.text for c in await bot.comments(PROJECT, request.number)] == ["as it was"]


async def test_the_newest_status_of_each_check_counts(bot, place):
    branch, request = await proposed(place, bot)
    sha = await bot.branch_sha(PROJECT, branch)
    for state in (CommitState.PENDING, CommitState.FAILURE, CommitState.SUCCESS):
        await bot.set_status(PROJECT, sha, CommitStatus("ci/one", state, "told", None))
    await bot.set_status(
        PROJECT, sha, CommitStatus("ci/two", CommitState.FAILURE, "", f"{place.url}/run")
    )
    assert await bot.statuses(PROJECT, sha) == [
        CommitStatus("ci/one", CommitState.SUCCESS, "told", None),
        CommitStatus("ci/two", CommitState.FAILURE, "", f"{place.url}/run"),
    ]
    assert request.head_sha == sha


@pytest.mark.parametrize(
    ("name", "access"),
    [
        ("maintainer", Access.ADMIN),
        ("developer", Access.WRITE),
        ("reader", Access.READ),
        ("stranger", Access.READ),
    ],
)
async def test_what_an_account_may_do(bot, place, name, access):
    if name == "stranger" and place.kind == "gitlab":
        access = Access.NONE  # a level of a member; who is none may still read what is public
    assert await bot.access(PROJECT, name) is access


def test_access_covers_what_is_less():
    order = list(Access)
    for has, wants in itertools.product(order, order):
        assert has.covers(wants) == (order.index(has) >= order.index(wants))


async def test_an_account_that_is_not_there_has_no_access(bot, place):
    if place.kind == "gitlab":
        assert await bot.access(PROJECT, "nobody-of-this-name") is Access.NONE
        return
    with pytest.raises(ForgeError) as caught:
        await bot.access(PROJECT, "nobody-of-this-name")
    assert caught.value.status == 404


async def test_an_issue_from_its_beginning_to_its_end(bot, as_whom):
    reader = await as_whom("reader")
    made = await reader.open_issue(PROJECT, "It breaks", "when used")
    assert (made.title, made.text, made.author.name) == ("It breaks", "when used", "reader")
    said = await bot.comment_issue(PROJECT, made.number, "on it")
    assert (said.text, said.author.name) == ("on it", "bot")
    assert made in await bot.open_issues(PROJECT)
    await bot.close_issue(PROJECT, made.number)
    assert made.number not in [one.number for one in await bot.open_issues(PROJECT)]


async def test_an_issue_has_its_labels_from_the_beginning(bot):
    for _ in range(2):  # the label is made by the first, and found by the second
        made = await bot.open_issue(PROJECT, "Mend it", "please", labels=["agent:pm", "small"])
        assert sorted(made.labels) == ["agent:pm", "small"]
        assert made in await bot.open_issues(PROJECT)
    assert (await bot.open_issue(PROJECT, "Plain", "x")).labels == ()


async def test_merge_requests_are_no_issues(bot, place):
    _, request = await proposed(place, bot)
    assert request.title not in [one.title for one in await bot.open_issues(PROJECT)]


async def test_hooks_are_made_read_and_removed(bot):
    wanted = frozenset({HookEvent.COMMENT, HookEvent.MERGE_REQUEST})
    made = await bot.add_hook(PROJECT, "http://127.0.0.1:9/hook", "hooks-own-secret", wanted)
    assert (made.url, made.events) == ("http://127.0.0.1:9/hook", wanted)
    assert made in await bot.hooks(PROJECT)
    await bot.remove_hook(PROJECT, made.id)
    assert made.id not in [hook.id for hook in await bot.hooks(PROJECT)]


async def test_who_does_not_administer_reads_no_hooks(as_whom):
    reader = await as_whom("reader")
    with pytest.raises(ForgeError) as caught:
        await reader.hooks(PROJECT)
    assert caught.value.status in (401, 403, 404)


async def test_comments_since_a_moment_are_read_with_their_request(bot, place, as_whom):
    _, request = await proposed(place, bot)
    issue = await bot.open_issue(PROJECT, "An issue", "of its own")
    developer = await as_whom("developer")
    early = await developer.comment(PROJECT, request.number, "early")
    await asyncio.sleep(2.1)
    now = await bot.now()
    assert early.created is not None
    assert abs((now - early.created).total_seconds()) < 30
    assert not early.edited
    said = await developer.comment(PROJECT, request.number, "!testme")
    await developer.comment_issue(PROJECT, issue.number, "!testme")

    async def seen() -> dict[int, tuple[int, str, bool]]:
        found = await bot.comments_since(PROJECT, now)
        found = found.comments
        return {c.comment.id: (c.number, c.comment.text, c.comment.edited) for c in found}

    assert await seen() == {said.id: (request.number, "!testme", False)}
    await developer.edit_comment(PROJECT, request.number, early.id, "!testme")
    await bot.react(PROJECT, request.number, said.id, Reaction.SEEN)
    assert await seen() == {
        early.id: (request.number, "!testme", True),
        said.id: (request.number, "!testme", False),
    }


async def test_comments_too_large_to_be_read_hide_no_other(bot, place, as_whom, monkeypatch):
    """By bounds that are a fortieth: a page of fifty is too large, and one comment alone is."""
    monkeypatch.setattr(gitea_session, "MAX_ANSWER_BYTES", 200_000)
    monkeypatch.setattr(gitlab_session, "MAX_ANSWER_BYTES", 200_000)
    _, request = await proposed(place, bot)
    developer = await as_whom("developer")
    await asyncio.sleep(1.1)
    since = await bot.now()

    async def say(text: str) -> None:
        with contextlib.suppress(ForgeError):  # the answer says it back, and is too large then
            await developer.comment(PROJECT, request.number, text)

    said = ["first", *("x" * 60_000 for _ in range(4)), "<" * 250_000, "!testme"]
    for text in said:
        await say(text)
    found = await bot.comments_since(PROJECT, since)
    assert [c.comment.text for c in found.comments] == [t for t in said if len(t) < 200_000]
    assert found.more_since is None
    issue = await bot.open_issue(PROJECT, "small", "text")
    with contextlib.suppress(ForgeError):
        await developer.open_issue(PROJECT, "large", "<" * 250_000)
    listed = {each.title: each.number for each in await bot.open_issues(PROJECT)}
    assert listed.get("small") == issue.number
    assert "large" not in listed


async def test_a_push_after_a_comment_is_told_from_one_before_it(bot, place):
    branch, request = await proposed(place, bot)
    place.commit(branch, f"second {request.number}")
    await asyncio.sleep(1.2)  # Gitea notes a push by and by
    said = await bot.comment(PROJECT, request.number, "!testme")
    assert await bot.pushed_after(PROJECT, request.number, said) is False
    place.commit(branch, f"third {request.number}")
    async with asyncio.timeout(30):
        while not await bot.pushed_after(PROJECT, request.number, said):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not (await bot.merge_request(PROJECT, request.number)).from_fork


@pytest.mark.parametrize(("name", "member"), [("maintainer", True), ("stranger", False)])
async def test_a_member_of_the_group_is_told_from_others(place, as_whom, name, member):
    asked = await as_whom("maintainer")
    who = await (await as_whom(name)).current_user()
    assert await asked.is_member("team", who) is member
    assert await asked.is_member("no-such-group", who) is False


async def test_who_is_no_member_is_told_nothing_of_members(place, as_whom):
    if place.kind == "gitlab":
        pytest.skip("GitLab tells everybody who sees the group")
    maintainer = await (await as_whom("maintainer")).current_user()
    with pytest.raises(ForgeError) as caught:
        await (await as_whom("stranger")).is_member("team", maintainer)
    assert caught.value.status == 303
