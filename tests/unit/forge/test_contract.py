"""The contract of a forge, kept by GitLab and by Gitea alike."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime

import pytest
from aiohttp import web

from agency.forge import (
    Comment,
    CommitState,
    CommitStatus,
    ForgeError,
    ForgeUnreachableError,
    MergeState,
    Project,
    User,
)
from agency.forge.errors import field_of

SHA = "a" * 40
TOKEN = "token-of-bot"


async def test_who_the_tokens_user_is(forge):
    assert await forge.current_user() == User(7, "forge-bot")


async def test_a_project(forge):
    url = "https://git.example/team/app"
    assert await forge.project("team/app") == Project(3, "team/app", "main", f"{url}.git", url)


async def test_a_merge_request(forge, simulated):
    found = await forge.merge_request("team/app", 5)
    assert (found.number, found.title, found.author) == (5, "Add a thing", User(8, "alice"))
    assert (found.state, found.target_branch, found.head_sha) == (MergeState.OPEN, "main", SHA)
    where = {"gitlab": "refs/merge-requests/5/head", "gitea": "refs/pull/5/head"}
    assert found.head_ref == where[simulated.kind]


@pytest.mark.parametrize(
    ("gitlab", "gitea", "state"),
    [
        ("merged", {"state": "closed", "merged": True}, MergeState.MERGED),
        ("closed", {"state": "closed", "merged": False}, MergeState.CLOSED),
        ("locked", {"state": "open", "merged": False}, MergeState.OPEN),
    ],
)
async def test_states_have_one_set_of_words(forge, simulated, gitlab, gitea, state):
    (call,) = (c for c in simulated.answers if c.endswith(("/merge_requests/5", "/pulls/5")))
    simulated.answers[call] |= {"state": gitlab} if simulated.kind == "gitlab" else gitea
    assert (await forge.merge_request("team/app", 5)).state is state


async def test_a_comment(forge, simulated):
    made = await forge.comment("team/app", 5, "hé")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert made == Comment(70, User(7, "forge-bot"), "hé", noon, noon)
    assert list(simulated.told.values()) == [{"body": "hé"}]


@pytest.mark.parametrize(
    ("state", "gitlab", "gitea"),
    [
        (CommitState.PENDING, "pending", "pending"),
        (CommitState.RUNNING, "running", "pending"),
        (CommitState.SUCCESS, "success", "success"),
        (CommitState.FAILURE, "failed", "failure"),
    ],
)
async def test_the_status_of_a_commit(forge, simulated, state, gitlab, gitea):
    status = CommitStatus("recipe-ci", state, "2 of 5 stages", "https://ci.example/1")
    await forge.set_status("team/app", SHA, status)
    (told,) = simulated.told.values()
    name = {"gitlab": "name", "gitea": "context"}[simulated.kind]
    assert told == {
        "state": {"gitlab": gitlab, "gitea": gitea}[simulated.kind],
        name: "recipe-ci",
        "description": "2 of 5 stages",
        "target_url": "https://ci.example/1",
    }


async def test_what_is_not_there(forge):
    with pytest.raises(ForgeError, match="HTTP 404") as caught:
        await forge.project("team/none")
    assert (caught.value.status, int(caught.value.exit_code)) == (404, 1)


async def test_a_path_does_not_leave_its_place(forge, simulated):
    with pytest.raises(ForgeError, match="HTTP 404"):
        await forge.project("team/app/../../user?x=1#y")
    assert "?" not in simulated.calls[-1]
    assert ".." not in simulated.calls[-1].split("/")


async def test_a_wrong_token_is_refused_and_not_told(simulated, opened):
    async with opened("wrong-token-of-bot") as forge:
        with pytest.raises(ForgeError, match="HTTP 401") as caught:
            await forge.current_user()
        assert caught.value.status == 401
        assert "wrong-token-of-bot" not in f"{caught.value} {forge!r}"


def answers(body: bytes, status: int = 200, **headers: str):
    async def answer(_: web.Request) -> web.Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return web.Response(body=body, status=status, headers=named)

    return answer


async def test_a_rate_limit_is_waited_for(forge, simulated):
    limited = answers(b"{}", 429, Retry_After="0")
    simulated.faults = [limited, limited]
    assert (await forge.current_user()).id == 7
    assert simulated.calls == ["GET /user"] * 3


async def test_but_not_for_ever(forge, simulated):
    simulated.faults = [answers(b"{}", 429, Retry_After="0")] * 50
    with pytest.raises(ForgeError, match="HTTP 429"):
        await forge.current_user()
    assert len(simulated.calls) <= 11


@pytest.mark.parametrize(
    "fault",
    [
        answers(b"<html>log in", 200, Content_Type="text/html"),
        answers(b"{", 200, Content_Type="application/json"),
        answers(b"[1]", 200, Content_Type="application/json"),
        answers(b'{"id": "seven"}', 200, Content_Type="application/json"),
        answers(b"<html>bad gateway", 502, Content_Type="text/html"),
    ],
)
async def test_what_is_no_answer_of_a_forge(forge, simulated, fault):
    simulated.faults = [fault]
    with pytest.raises(ForgeError):
        await forge.current_user()


async def test_a_redirect_is_not_followed_with_the_token(forge, simulated):
    simulated.faults = [answers(b"", 302, Location=f"{simulated.url}{simulated.prefix}/elsewhere")]
    with pytest.raises(ForgeError, match="HTTP 302"):
        await forge.current_user()
    assert simulated.calls == ["GET /user"]


async def test_a_body_that_is_too_large_is_cut_off(forge, simulated):
    sent = 0

    async def large(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" " * 1024 * 1024)
            sent += 1
        return response

    simulated.faults = [large]
    with pytest.raises(ForgeError, match="more than"):
        await forge.current_user()
    assert sent < 60


async def test_silence_ends_in_time(simulated, opened):
    async def silent(_: web.Request) -> web.Response:
        await simulated.ending.wait()
        return web.Response()

    simulated.faults = [silent]
    async with opened(TOKEN, timeout_s=0.3) as forge:
        with pytest.raises(ForgeUnreachableError, match="does not answer") as caught:
            await forge.current_user()
    assert int(caught.value.exit_code) == 3


async def test_a_lost_connection_is_no_answer(forge, simulated):
    async def hang_up(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"id"')
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.close()
        return response

    simulated.faults = [hang_up]
    with pytest.raises(ForgeUnreachableError, match="does not answer"):
        await forge.current_user()


async def test_nobody_listens(simulated):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with simulated.open(url, TOKEN) as forge:
            with pytest.raises(ForgeUnreachableError, match="does not answer"):
                await forge.current_user()


@pytest.mark.parametrize("answer", [{}, {"id": True}, {"id": "7"}, {"id": None}])
def test_a_field_has_its_type(answer):
    assert field_of({"id": 7}, int, "id") == 7
    with pytest.raises(ForgeError, match="no int"):
        field_of(answer, int, "id")
