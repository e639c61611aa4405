"""SIMULATED forges on loopback: what each answers to the calls of the contract, and to no others.

Their answers have the fields that the forges' own API descriptions give: GitLab's
doc/api/openapi/openapi_v2.yaml and doc/api/*.md, Gitea's templates/swagger/v1_json.tmpl. Real ones
run where recipe CI is tested.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from agency.forge import Forge
from agency.forge.gitea import GiteaForge, gitea_forge
from agency.forge.gitlab import gitlab_forge

TOKEN = "token-of-bot"
SHA = "a" * 40
MADE = {"created_at": "2026-01-01T12:00:00Z", "updated_at": "2026-01-01T12:00:00Z"}
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Simulated:
    """A forge: its answers by `METHOD path`, what it was told, and faults that come first."""

    kind: str
    prefix: str
    header: tuple[str, str]
    answers: dict[str, Any]
    open: Callable[[str, str], AbstractAsyncContextManager[Forge]]
    project_call: str
    told: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = f"{request.method} {request.raw_path.removeprefix(self.prefix)}"
        self.calls.append(call)
        name, value = self.header
        if request.headers.get(name) != value:
            return web.json_response({"message": "401 Unauthorized"}, status=401)
        if self.faults:
            return await self.faults.pop(0)(request)
        if call not in self.answers:
            return web.json_response({"message": "404 Not Found"}, status=404)
        if request.method == "POST":
            self.told[call] = await request.json()
        status = 201 if request.method == "POST" else 200
        return web.json_response(self.answers[call], status=status)


def gitlab() -> Simulated:
    bot = {"id": 7, "username": "forge-bot", "name": "Bot", "state": "active"}
    project = "/projects/team%2Fapp"
    return Simulated(
        kind="gitlab",
        prefix="/api/v4",
        header=("PRIVATE-TOKEN", TOKEN),
        open=gitlab_forge,
        project_call=f"GET {project}",
        answers={
            "GET /user": bot,
            f"GET {project}": {
                "id": 3,
                "path_with_namespace": "team/app",
                "default_branch": "main",
                "http_url_to_repo": "https://git.example/team/app.git",
                "web_url": "https://git.example/team/app",
            },
            f"GET {project}/merge_requests/5": {
                "iid": 5,
                "title": "Add a thing",
                "state": "opened",
                "author": {"id": 8, "username": "alice"},
                "source_branch": "thing",
                "target_branch": "main",
                "sha": SHA,
                "web_url": "https://git.example/team/app/-/merge_requests/5",
            },
            f"POST {project}/merge_requests/5/notes": {"id": 70, "body": "hé", "author": bot}
            | MADE,
            f"POST {project}/statuses/{SHA}": {"id": 9, "status": "running"},
        },
    )


def gitea() -> Simulated:
    bot = {"id": 7, "login": "forge-bot", "full_name": "Bot"}
    project = "/repos/team/app"
    return Simulated(
        kind="gitea",
        prefix="/api/v1",
        header=("Authorization", f"token {TOKEN}"),
        open=gitea_forge,
        project_call=f"GET {project}",
        answers={
            "GET /user": bot,
            f"GET {project}": {
                "id": 3,
                "full_name": "team/app",
                "default_branch": "main",
                "clone_url": "https://git.example/team/app.git",
                "html_url": "https://git.example/team/app",
            },
            f"GET {project}/pulls/5": {
                "number": 5,
                "title": "Add a thing",
                "state": "open",
                "merged": False,
                "user": {"id": 8, "login": "alice"},
                "head": {"ref": "thing", "sha": SHA},
                "base": {"ref": "main", "sha": "b" * 40},
                "html_url": "https://git.example/team/app/pulls/5",
            },
            f"POST {project}/issues/5/comments": {"id": 70, "body": "hé", "user": bot} | MADE,
            f"POST {project}/statuses/{SHA}": {"id": 9, "status": "pending"},
        },
    )


@pytest.fixture(params=[gitlab, gitea], ids=["gitlab", "gitea"])
async def simulated(request: pytest.FixtureRequest) -> AsyncIterator[Simulated]:
    forge: Simulated = request.param()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forge.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield forge
    forge.ending.set()
    await runner.cleanup()


@pytest.fixture
async def forge(
    simulated: Simulated, opened: Callable[..., AbstractAsyncContextManager[Forge]]
) -> AsyncIterator[Forge]:
    async with opened(TOKEN) as forge:
        yield forge


@pytest.fixture
def opened(simulated: Simulated) -> Callable[..., AbstractAsyncContextManager[Forge]]:
    """Opens the simulated forge with a token, and waits little."""

    @asynccontextmanager
    async def opened(token: str, timeout_s: float = 5.0) -> AsyncIterator[Forge]:
        async with simulated.open(simulated.url, token) as forge:
            if simulated.kind == "gitea":
                yield GiteaForge(replace(forge.api, timeout_s=timeout_s))  # type: ignore[attr-defined]
            else:
                forge.api.client.timeout = timeout_s  # type: ignore[attr-defined]
                yield forge

    return opened
