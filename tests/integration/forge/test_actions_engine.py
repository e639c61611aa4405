"""The engine `gitea-actions` on a real Gitea, with a real registered runner: the whole suite."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import engine_conformance as conformance
import pytest
from actions_runner import ActionsRunner
from engine_conformance import run
from running_gitea import Gitea

from agency.recipes.configuration import EngineSettings
from agency.recipes.engine.port import Build, EngineError, EngineRefusedError, Phase
from agency.recipes.engine.remote.api import Api
from agency.recipes.engine.remote.gitea import GiteaEngine
from agency.recipes.engine.remote.pipeline import FILES, LABEL, pipeline
from agency.secrets import SecretValue

pytestmark = pytest.mark.forge
REPOSITORY = "ci/runs"


@dataclass
class Case:
    """The engine at a real Gitea; `finish` plays the jobs that were queued before, too."""

    gitea: Gitea
    runner: ActionsRunner
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    async def engine(self, repository: str = REPOSITORY) -> Any:
        self.sessions.append(aiohttp.ClientSession())
        headers = {"Authorization": f"token {self.gitea.token}"}
        api = Api(self.gitea.url, headers, self.sessions[-1])
        settings = EngineSettings(url=self.gitea.url, repository=repository)
        return GiteaEngine(api=api, settings=settings, janitor=lambda: None)

    async def finish(self, build: Build, good: bool) -> None:
        name = build.id.partition("/")[2]
        while True:
            task = await asyncio.to_thread(self.runner.take)
            workflow = self.runner.workflow_of(task)
            mine = name in str(task["context"]) or name in str(workflow)
            await asyncio.to_thread(self.runner.end, task, good if mine else False)
            if mine:
                return


@pytest.fixture(scope="module")
def gitea(gitea_server: Gitea) -> Gitea:
    found = gitea_server
    found.call("POST", "/orgs", {"username": "ci"})
    found.call("POST", "/orgs/ci/repos", {"name": "runs", "auto_init": True})
    found.call("PATCH", f"/repos/{REPOSITORY}", {"has_actions": True})
    content = base64.b64encode(pipeline("gitea-actions", 2, 60).encode()).decode()
    file = {"content": content, "message": "the workflow", "branch": "main"}
    found.call("POST", f"/repos/{REPOSITORY}/contents/{FILES['gitea-actions']}", file)
    return found


@pytest.fixture(scope="module")
def runner(gitea: Gitea) -> ActionsRunner:
    made = ActionsRunner(gitea, LABEL)
    made.register()
    return made


@pytest.fixture
async def case(gitea: Gitea, runner: ActionsRunner) -> AsyncIterator[Case]:
    case = Case(gitea, runner)
    yield case
    await asyncio.gather(*(each.close() for each in case.sessions))


async def test_a_build_is_followed_to_its_end(case: Case) -> None:
    await conformance.followed_to_its_end(case)


async def test_a_build_is_found_again(case: Case) -> None:
    await conformance.found_again(case)


async def test_a_build_that_nobody_knows_is_lost(case: Case) -> None:
    await conformance.unknown_is_lost(case)


async def test_a_cancelled_build_ends_when_its_step_refuses(case: Case) -> None:
    """Gitea's interface has no way to cancel: the step sees that the run is to stop."""
    engine = await case.engine()
    build = await engine.start(run(4))
    await engine.cancel(build)
    assert not (await engine.state(build)).phase.over
    await case.finish(build, good=False)
    assert await conformance.ends(engine, build) is Phase.FAILED


async def test_what_cannot_be_started_is_refused_with_the_file_to_look_at(case: Case) -> None:
    engine = await case.engine("ci/none")
    with pytest.raises(EngineRefusedError) as caught:
        await engine.start(run(5))
    assert ".gitea/workflows/recipe.yaml" in str(caught.value.hint)


async def test_a_secret_is_kept_and_not_shown(case: Case, gitea: Gitea) -> None:
    engine = await case.engine()
    await engine.put_secret("REGISTRY_TOKEN", SecretValue("first-value"))
    await engine.put_secret("REGISTRY_TOKEN", SecretValue("second-value"))
    (kept,) = gitea.call("GET", f"/repos/{REPOSITORY}/actions/secrets")
    assert kept["name"] == "REGISTRY_TOKEN"
    assert "value" not in str(kept.get("data"))
    with pytest.raises(EngineError):
        await engine.put_secret("GITEA_NOT_ALLOWED", SecretValue("third-value"))
