"""Calls of a real Gitea's hooks, received and read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agency.forge import (
    Forge,
    HookEvent,
    HookRefusedError,
    NewMergeRequest,
    Told,
    read_hook,
)
from agency.forge.gitea import gitea_forge

pytestmark = pytest.mark.forge
PROJECT = "team/app"
SECRET = "hooks-own-secret"


class Receiver:
    """Server that keeps every call of a hook: headers with names in lower case, and the body."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.came = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((headers, await request.read()))
        self.came.set()
        return web.Response()

    async def told(self, event: HookEvent, action: str = "") -> Told:
        """Wait for a call that tells of an event."""
        async with asyncio.timeout(30):
            while True:
                for headers, body in self.calls:
                    told = read_hook(headers, body, SECRET)
                    if told and told.event is event and action in ("", told.action):
                        return told
                self.came.clear()
                await self.came.wait()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def gitea(gitea_place) -> AsyncIterator[Forge]:
    async with gitea_forge(gitea_place.url, gitea_place.tokens["bot"]) as forge:
        yield forge


async def test_gitea_tells_of_a_push_a_merge_request_and_a_comment(gitea, gitea_place, receiver):
    made = await gitea.add_hook(PROJECT, receiver.url, SECRET, frozenset(HookEvent))
    try:
        gitea_place.commit("told-of", "told of")
        pushed = await receiver.told(HookEvent.PUSH)
        assert (pushed.project, pushed.ref) == (PROJECT, "refs/heads/told-of")
        new = NewMergeRequest("Told of", "", "told-of", "main")
        request = await gitea.open_merge_request(PROJECT, new)
        opened = await receiver.told(HookEvent.MERGE_REQUEST, "opened")
        assert (opened.project, opened.number) == (PROJECT, request.number)
        said = await gitea.comment(PROJECT, request.number, "!testme")
        told = await receiver.told(HookEvent.COMMENT, "created")
        assert (told.number, told.comment) == (request.number, said)
        await gitea.edit_comment(PROJECT, request.number, said.id, "!testme install")
        edited = await receiver.told(HookEvent.COMMENT, "edited")
        assert edited.comment is not None
        assert edited.comment.text == "!testme install"
        assert len({each["x-gitea-delivery"] for each, _ in receiver.calls}) == len(receiver.calls)
        for headers, body in receiver.calls:
            with pytest.raises(HookRefusedError, match="not proved"):
                read_hook(headers, body, "another-secret")
            with pytest.raises(HookRefusedError, match="not proved"):
                read_hook(headers, body + b" ", SECRET)
    finally:
        await gitea.remove_hook(PROJECT, made.id)


async def test_a_hook_for_comments_alone_tells_of_those_on_merge_requests(
    gitea, gitea_place, receiver
):
    made = await gitea.add_hook(PROJECT, receiver.url, SECRET, frozenset({HookEvent.COMMENT}))
    try:
        assert made.events == {HookEvent.COMMENT}
        gitea_place.commit("commented", "commented")
        request = await gitea.open_merge_request(
            PROJECT, NewMergeRequest("Commented", "", "commented", "main")
        )
        said = await gitea.comment(PROJECT, request.number, "!testme")
        told = await receiver.told(HookEvent.COMMENT, "created")
        assert (told.number, told.comment) == (request.number, said)
        assert all(each["x-gitea-event"] != "pull_request" for each, _ in receiver.calls)
    finally:
        await gitea.remove_hook(PROJECT, made.id)


async def test_a_comment_on_an_issue_is_no_event(gitea, receiver):
    made = await gitea.add_hook(PROJECT, receiver.url, SECRET, frozenset({HookEvent.COMMENT}))
    try:
        issue = await gitea.open_issue(PROJECT, "An issue", "of its own")
        await gitea.comment_issue(PROJECT, issue.number, "!testme")
        async with asyncio.timeout(30):
            await receiver.came.wait()
        (headers, body) = receiver.calls[0]
        assert read_hook(headers, body, SECRET) is None
    finally:
        await gitea.remove_hook(PROJECT, made.id)
