"""The secrets of a pipeline at a real Gitea, as far as a job of it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from actions_runner import ActionsRunner
from pipeline_secrets_desk import Desk
from running_gitea import Gitea

from agency.reconcile.engine.engine import Outcome

pytestmark = pytest.mark.forge
REPOSITORY = "keeper/pipeline"
WORKFLOW = """\
on: [workflow_dispatch]
jobs:
  run:
    runs-on: of-the-secrets
    steps: [{run: "true", env: {LOGIN: "${{ secrets.REGISTRY_LOGIN }}"}}]
"""


@pytest.fixture(scope="module")
def token(gitea_server: Gitea) -> str:
    """The repository with a workflow, and the token of its owner."""
    made = gitea_server.person("keeper", ["write:repository"])
    gitea_server.call("POST", "/admin/users/keeper/repos", {"name": "pipeline", "auto_init": True})
    gitea_server.call("PATCH", f"/repos/{REPOSITORY}", {"has_actions": True})
    content = base64.b64encode(WORKFLOW.encode()).decode()
    path = f"/repos/{REPOSITORY}/contents/.gitea/workflows/secrets.yaml"
    gitea_server.call("POST", path, {"content": content, "message": "workflow", "branch": "main"})
    return made


@pytest.fixture
def desk(gitea_server: Gitea, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path)
    made.set_up("gitea-actions", gitea_server.url, REPOSITORY, token)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(made.credentials))
    return made


def listed(gitea: Gitea) -> dict[str, str]:
    """By name, when Gitea says that it was made."""
    found = gitea.call("GET", f"/repos/{REPOSITORY}/actions/secrets")
    return {one["name"]: one["created_at"] for one in found}


def of_a_job(gitea: Gitea, runner: ActionsRunner) -> dict[str, str]:
    """The secrets that Gitea gives to a job of the pipeline."""
    path = f"/repos/{REPOSITORY}/actions/workflows/secrets.yaml/dispatches"
    gitea.call("POST", path, {"ref": "refs/heads/main"})
    task = runner.take()
    runner.end(task, good=True)
    return dict(task["secrets"])


async def test_a_job_gets_the_value_and_each_new_one(gitea_server: Gitea, desk: Desk) -> None:
    runner = ActionsRunner(gitea_server, "of-the-secrets")
    runner.register()
    desk.put("login", "first-value-2871")
    report = await desk.converge(REGISTRY_LOGIN="login")
    assert report.outcome is Outcome.CHANGED, report
    assert of_a_job(gitea_server, runner)["REGISTRY_LOGIN"] == "first-value-2871"
    there = listed(gitea_server)
    assert len(there) == 2, "the secret, and the mark of its value"
    assert "2871" not in str(there)

    assert (await desk.converge(REGISTRY_LOGIN="login")).outcome is Outcome.UNCHANGED
    assert listed(gitea_server) == there

    desk.put("login", "second-value-4419")
    assert (await desk.converge(REGISTRY_LOGIN="login")).outcome is Outcome.CHANGED
    assert of_a_job(gitea_server, runner)["REGISTRY_LOGIN"] == "second-value-4419"
    assert len(listed(gitea_server)) == 2

    gitea_server.call("DELETE", f"/repos/{REPOSITORY}/actions/secrets/REGISTRY_LOGIN")
    report = await desk.converge(check=True, REGISTRY_LOGIN="login")
    assert [one.before for one in report.pending] == ["absent"]
    assert (await desk.converge(REGISTRY_LOGIN="login")).outcome is Outcome.CHANGED
    assert of_a_job(gitea_server, runner)["REGISTRY_LOGIN"] == "second-value-4419"
    assert (await desk.converge()).outcome is Outcome.CHANGED
    assert listed(gitea_server) == {}
