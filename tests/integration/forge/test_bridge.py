"""The comment bridge as a process, at a real Gitea: people comment, and it answers.

The engine's part is played by the test, in the record that both share.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from bridged import SECRET, BridgeProcess, People
from repositories import git

from agency.clock import Clock
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import open_runs

pytestmark = pytest.mark.forge


@pytest.fixture(scope="module")
def people(gitea_server) -> People:
    people = People(gitea_server)
    people.settle()
    return people


@pytest.fixture
def bridge(people, tmp_path, request) -> Iterator[BridgeProcess]:
    project = people.repository(request.node.name.split("[")[0].removeprefix("test_")[:60])
    bridge = BridgeProcess(tmp_path, people, (project,))
    yield bridge
    if bridge.process is not None and bridge.process.poll() is None:
        assert bridge.end() == 0, bridge.log()[-2000:]
    assert SECRET not in bridge.log()
    assert people.tokens["recipe-ci"] not in bridge.log()


def proposed(people: People, project: str, branch: str = "change") -> tuple[int, str]:
    sha = people.push("ada", project, branch, f"{branch} one")
    return people.propose("ada", project, branch), sha


async def test_from_a_comment_to_the_outcome(people, bridge):
    (project,) = bridge.projects
    number, sha = proposed(people, project)
    people.gitea.call("PUT", f"/repos/{project}/collaborators/recipe-ci", {"permission": "write"})
    before = people.say("ada", project, number, "!testme")
    await asyncio.sleep(1.1)  # Gitea's moments are whole seconds
    bridge.start()
    people.say("ada", project, number, "!testmexyz")
    people.say("eve", project, number, "!testme")
    edited = people.say("ada", project, number, "!testem")
    await asyncio.sleep(1.1)
    people.act("ada", "PATCH", f"/repos/{project}/issues/comments/{edited}", {"body": "!testme"})
    said = people.say("ada", project, number, "!testme install\n")
    (run,) = await bridge.soon(lambda: bridge.runs(project), "a run")
    assert (run["comment"], run["commit_sha"], run["requester"]) == (said, sha, "ada")
    assert before < said
    answers = await bridge.soon(
        lambda: (found := people.answers(project, number))[2:] and found, "three answers"
    )
    assert "Only members of `recipes`" in answers[0]
    assert "Edited comments" in answers[1]
    assert f"https://ci.example.org/runs/{run['id']}" in answers[2]
    reactions = people.gitea.call("GET", f"/repos/{project}/issues/comments/{said}/reactions")
    assert [one["content"] for one in reactions] == ["eyes"]
    async with open_runs(bridge.state, Clock()) as runs:
        assert (await runs.take(1)).id == run["id"]
        await bridge.soon(lambda: "is running" in people.answers(project, number)[2], "running")
        stages = [{"name": "install", "outcome": "fail", "seconds": 3, "reason": "@ada broke"}]
        result = json.dumps({"stages": stages})
        await runs.end(run["id"], RunState.FAILED, "a stage failed", result)
    await bridge.soon(lambda: "**failed**" in people.answers(project, number)[2], "the outcome")

    def status() -> dict:
        found = people.gitea.call("GET", f"/repos/{project}/commits/{sha}/statuses")
        newest = max(found, key=lambda one: one["id"])
        return newest if newest["status"] == "failure" else {}

    told = await bridge.soon(status, "the status")
    assert (told["context"], told["target_url"]) == (
        "agency/recipes",
        f"https://ci.example.org/runs/{run['id']}",
    )
    html = await asyncio.to_thread(people.shown, project, people.answers(project, number)[2])
    assert "mention" not in html
    assert "@ada broke" in html
    assert "<!--" not in html
    assert len(bridge.runs(project)) == 1


async def test_a_hook_of_gitea_starts_a_run_within_3_s_and_once(people, bridge):
    """The bot has read rights alone: it tells by comments."""
    (project,) = bridge.projects
    number, sha = proposed(people, project)
    bridge.poll_s = 3600
    bridge.start()
    url = f"http://127.0.0.1:{bridge.port}/hook"
    config = {"url": url, "content_type": "json", "secret": SECRET}
    events = ["issue_comment", "pull_request_comment"]
    wish = {"type": "gitea", "active": True, "events": events, "config": config}
    people.gitea.call("POST", f"/repos/{project}/hooks", wish)
    people.say("eve", project, number, "!testme")  # authorised by the forge, not by the body
    begun = time.monotonic()
    people.say("ada", project, number, "!testme")
    await bridge.soon(lambda: bridge.runs(project), "a run by the hook")
    assert time.monotonic() - begun < 3
    await bridge.soon(lambda: len(people.answers(project, number)) == 2, "the answers")
    await asyncio.sleep(1.5)
    assert [run["requester"] for run in bridge.runs(project)] == ["ada"]
    numbers = (await asyncio.to_thread(bridge.get, "/metrics")).text
    taken = next(line for line in numbers.splitlines() if 'hooks_total{result="taken"}' in line)
    assert float(taken.split()[1]) >= 2
    health = await asyncio.to_thread(bridge.get, "/health")
    assert (health.status_code, health.json()["hook"]) == (200, True)
    assert "the commit's status" in bridge.log()
    assert people.gitea.call("GET", f"/repos/{project}/commits/{sha}/statuses") == []
    assert not bridge.rows("SELECT id FROM runs WHERE told != state")
    second = await asyncio.to_thread(_second, bridge)
    assert second.returncode == 3
    assert f"127.0.0.1:{bridge.port}" in second.stderr


def _second(bridge: BridgeProcess) -> subprocess.CompletedProcess[str]:
    words = ["recipes", "bridge", "--config", str(bridge.place / "recipes.json")]
    env = {"CREDENTIALS_DIRECTORY": str(bridge.place / "credentials"), "PATH": ""}
    argv = [*bridge.process.args[:3], *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30)


async def test_a_fork_is_run_at_its_head_unless_it_moved_or_went(people, bridge, tmp_path):
    (project,) = bridge.projects
    fork = f"eve/{project.partition('/')[2]}"
    people.act("eve", "POST", f"/repos/{project}/forks", {})
    sha = people.push("eve", fork, "mine", "of a fork")
    number = people.propose("eve", project, "eve:mine")
    bridge.start()
    people.say("ada", project, number, "!testme")
    (run,) = await bridge.soon(lambda: bridge.runs(project), "a run")
    assert (run["commit_sha"], run["head_ref"]) == (sha, f"refs/pull/{number}/head")
    git(tmp_path, "init", "-q", "clone")
    git(tmp_path / "clone", "fetch", "-q", run["clone_url"], run["head_ref"])
    assert git(tmp_path / "clone", "rev-parse", "FETCH_HEAD").strip() == sha
    bridge.end()
    people.say("ada", project, number, "!testme")
    await asyncio.sleep(1.1)
    people.push("eve", fork, "mine", "pushed afterwards")
    await asyncio.sleep(1.1)
    bridge.start()
    await bridge.soon(lambda: len(people.answers(project, number)) == 2, "the answer")
    assert "got commits after the comment" in people.answers(project, number)[1]
    people.act("eve", "DELETE", f"/repos/{fork}/branches/mine")
    people.say("ada", project, number, "!testme")
    await bridge.soon(lambda: len(people.answers(project, number)) == 3, "the answer")
    assert "was removed" in people.answers(project, number)[2]
    assert len(bridge.runs(project)) == 1


async def test_killed_again_and_again_it_loses_and_doubles_nothing(people, bridge):
    (project,) = bridge.projects
    number, _ = proposed(people, project)
    bridge.start()
    chance = random.Random(7)
    said = []
    for _ in range(4):
        said.append(people.say("ada", project, number, "!testme"))
        await asyncio.sleep(chance.uniform(0.0, 1.3))
        bridge.end(signal.SIGKILL)
        said.append(people.say("ada", project, number, "!testme"))  # while it is down
        bridge.start()
    await bridge.soon(lambda: len(people.answers(project, number)) >= len(said), "all answers")
    await asyncio.sleep(2.5)
    assert [run["comment"] for run in bridge.runs(project)] == said
    answers = people.answers(project, number)
    found = sorted(int(text.rpartition("answer to ")[2].split()[0]) for text in answers)
    assert found == said


class Between:
    """A way to Gitea that can be spoiled: `spoil` makes the answer in its place."""

    def __init__(self, gitea_url: str) -> None:
        self.gitea_url = gitea_url
        self.spoil = None
        self.spoiled = 0

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        if self.spoil is not None:
            self.spoiled += 1
            return await self.spoil()
        headers = {
            name: request.headers[name]
            for name in ("Authorization", "Accept", "Content-Type")
            if name in request.headers
        }
        async with (
            ClientSession() as session,
            session.request(
                request.method,
                f"{self.gitea_url}{request.raw_path}",
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer,
        ):
            kept = {"Date": answer.headers["Date"]}
            if "Content-Type" in answer.headers:
                kept["Content-Type"] = answer.headers["Content-Type"]
            body = await answer.read()
            return web.Response(body=body, status=answer.status, headers=kept)


@asynccontextmanager
async def way_to(gitea_url: str) -> AsyncIterator[tuple[Between, str]]:
    between = Between(gitea_url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", between.pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield between, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_forge_in_trouble_loses_and_doubles_nothing(people, bridge):
    (project,) = bridge.projects
    number, _ = proposed(people, project)

    async def limited() -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "1"})

    async def failed() -> web.Response:
        return web.Response(status=500, text="<html>")

    async def garbage() -> web.Response:
        return web.Response(text="<html>log in", content_type="text/html")

    async with way_to(people.gitea.url) as (between, url):
        bridge.forge_url = url
        await asyncio.to_thread(bridge.start)
        said = []
        for spoil in (limited, failed, garbage):
            between.spoil, between.spoiled = spoil, 0
            said.append(people.say("ada", project, number, "!testme"))
            await asyncio.sleep(1.5)
            assert 1 <= between.spoiled < 12, "it backs off"
            assert len(bridge.runs(project)) == len(said) - 1
            between.spoil = None
            await bridge.soon(lambda: len(bridge.runs(project)) == len(said), "the run", 15)
        await bridge.soon(lambda: len(people.answers(project, number)) == 3, "the answers")
    assert [run["comment"] for run in bridge.runs(project)] == said


async def test_a_forge_that_is_stopped_and_started_again_loses_and_doubles_nothing(people, bridge):
    """A run ends while it is away, and the bridge itself starts then, too."""
    (project,) = bridge.projects
    number, _ = proposed(people, project)
    server = people.gitea.server
    bridge.start()
    first = people.say("ada", project, number, "!testme")
    (run,) = await bridge.soon(lambda: bridge.runs(project), "a run")
    await bridge.soon(lambda: people.answers(project, number), "its answer")
    second = people.say("ada", project, number, "!testme")
    try:
        await asyncio.to_thread(server.stop)
        taken = len(bridge.runs(project))
        async with open_runs(bridge.state, Clock()) as runs:
            assert (await runs.take(1)).id == run["id"]
            result = json.dumps({"stages": [{"name": "install", "outcome": "pass", "seconds": 3}]})
            await runs.end(run["id"], RunState.PASSED, "every stage passed", result)
        await bridge.soon(lambda: "Gitea does not answer" in bridge.log(), "a word in its log")
        assert len(bridge.runs(project)) == taken
        bridge.end(signal.SIGKILL)
        bridge.start()
        await asyncio.sleep(2)
        assert bridge.process.poll() is None, bridge.log()[-2000:]
    finally:
        await asyncio.to_thread(server.start)
    third = people.say("ada", project, number, "!testme")
    await bridge.soon(lambda: len(bridge.runs(project)) == 3, "all runs", 60)
    await bridge.soon(lambda: "**passed**" in people.answers(project, number)[0], "the outcome", 60)
    await bridge.soon(lambda: len(people.answers(project, number)) == 3, "the answers", 60)
    assert [each["comment"] for each in bridge.runs(project)] == [first, second, third]
