"""`agency recipes run`: a result in any case but those where it is not its to write."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from recipe_engines import order, result_of

from agency import cli
from agency.clock import Clock
from agency.errors import PrerequisiteError
from agency.recipes.configuration import RecipesConfig, read_config
from agency.recipes.engine import single
from agency.recipes.engine.port import Phase, Status
from agency.recipes.engine.result import judge, read_evidence
from agency.recipes.engine.single import perform_run, place_of, registries_here, wanted_of
from agency.recipes.outcome import STAGES
from agency.recipes.record.run import Order, Run, RunState
from agency.recipes.record.runs import Runs, open_runs
from agency.recipes.run.swarm import Swarm

RUN = "r00000001"
PROGRAMS = os.environ["PATH"]  # of the machine; each test has a PATH of its own


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No abra, no Docker, and no exec of the whole suite for the marker."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("AGENCY_RUN", RUN)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "recipes.json"
    path.write_text(
        json.dumps(
            {
                "domain": "example.org",
                "engine": "builtin",
                "maxTests": 1,
                "buildTimeoutMinutes": 60,
                "recipes": {"wiki": {"repository": "team/wiki"}},
                "forge": {"kind": "gitea", "url": "https://forge.example.org"},
                "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
                "ports": {"bridge": 8100, "dashboard": 8101},
                "wildcard": "*.ci.example.org",
                "state": str(tmp_path),
                "runner": {"tests": str(tmp_path / "suites")},
            }
        )
    )
    return path


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    async with open_runs(tmp_path, Clock()) as opened:
        await opened.add(order(7, comment=1), RUN)
        yield opened


def agency(*words: object) -> int:
    return cli.run(cli.cli, ["recipes", "run", *map(str, words)], prog_name="agency")


async def started(runs: Runs, config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = await asyncio.to_thread(agency, RUN, "--config", config)
    return status, capsys.readouterr().err


async def test_a_place_that_lacks_a_program_is_an_error_and_says_which(
    runs: Runs, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await runs.take(1)
    assert (await started(runs, config, capsys))[0] == 3
    found = await runs.run(RUN)
    assert found is not None
    evidence = read_evidence(tmp_path / "artifacts" / RUN, RUN)
    verdict = judge(found, Status(Phase.ERROR, "exit status 3"), None, evidence, 60)
    assert verdict.state is RunState.ERROR
    assert verdict.reason.startswith("prepare: ")
    assert "abra" in verdict.reason
    result = json.loads(str(verdict.result))
    assert result["domain"] == f"wiki-pr-7-{RUN}.ci.example.org"
    assert result["teardown"]["clean"] is True


async def test_a_run_that_nobody_took_is_refused(
    runs: Runs, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = await started(runs, config, capsys)
    assert status == 1
    assert "no such run that an engine started" in said
    assert not (tmp_path / "artifacts").exists()


async def test_a_run_that_is_to_stop_does_not_begin(
    runs: Runs, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await runs.take(1)
    await runs.stop(RUN, "grace")
    status, said = await started(runs, config, capsys)
    assert status == 1
    assert "it is to stop, by grace" in said
    assert not (tmp_path / "artifacts").exists()


async def test_a_result_is_written_once(
    runs: Runs, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await runs.take(1)
    place = tmp_path / "artifacts" / RUN
    place.mkdir(parents=True)
    (place / "result.json").write_text(result_of(RUN, "pass"))
    status, said = await started(runs, config, capsys)
    assert status == 1
    assert "has its result already" in said
    assert (place / "result.json").read_text() == result_of(RUN, "pass")


def test_the_instances_suites_go_before_the_recipes_own(config: Path, tmp_path: Path) -> None:
    read = read_config(config)
    assert wanted_of(read, a_run()).tests is None
    (tmp_path / "suites" / "wiki").mkdir(parents=True)
    wanted = wanted_of(read, a_run())
    assert wanted.tests == tmp_path / "suites" / "wiki"
    assert (wanted.stages, wanted.pull_request, wanted.zone) == (STAGES, 7, "ci.example.org")
    assert (wanted.source.ref, wanted.source.via) == ("a" * 40, "refs/pull/7/head")


def test_the_forges_token_goes_to_the_forge_alone(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = read_config(config)
    assert token_of(read, a_run()) is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "forge-bot-token").write_text("token-of-the-bot\n")
    assert token_of(read, a_run()) == "token-of-the-bot"
    for url in (
        "https://forge.example.org.evil.example/team/wiki.git",
        "https://elsewhere.example/team/wiki.git",
        "http://forge.example.org/team/wiki.git",
    ):
        other = replace(a_run(), order=replace(order(7), clone_url=url))
        assert token_of(read, other) is None


BAD_RECIPES = {
    "secrets that are a number": "services: {app: {image: x, secrets: 5}}\n",
    "a mapping that merges itself": "x-a: &a\n  <<: *a\nservices: {app: {image: x}}\n",
    "what the policy refuses": "services: {app: {image: x, privileged: true}}\n",
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_bad_recipe_fails_and_is_no_error_of_the_place(
    kind: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "abra").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{PROGRAMS}")
    monkeypatch.setattr(Swarm, "require", lambda _: None)  # nothing is deployed
    repository = tmp_path / "wiki"
    repository.mkdir()
    (repository / ".env.sample").write_text("TYPE=wiki\n")
    (repository / "compose.yml").write_text(BAD_RECIPES[kind])
    git = ("git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in ("init -q", "add -A", "commit -qm x", "update-ref refs/pull/7/head HEAD"):
        subprocess.run([*git, *words.split()], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    one = replace(
        order(7),
        recipe="wiki",
        commit=said.stdout.strip(),
        clone_url=f"file://{repository}",
        head_ref="refs/pull/7/head",
    )
    run = asyncio.run(taken(tmp_path, one))
    perform_run(read_config(config), RUN, "unix:///none", Clock())
    evidence = read_evidence(tmp_path / "artifacts" / RUN, RUN)
    verdict = judge(run, Status(Phase.FAILED, "exit status 1"), None, evidence, 60)
    assert verdict.state is RunState.FAILED
    assert verdict.reason.startswith("prepare: compose.yml:")


async def taken(state: Path, one: Order) -> Run:
    async with open_runs(state, Clock()) as opened:
        await opened.add(one, RUN)
        run = await opened.take(1)
        assert run is not None
        return run


async def test_a_fault_of_this_program_is_a_result_and_not_blamed_on_the_recipe(
    runs: Runs,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise KeyError(secret)

    secret = "hunter2-of-the-app"

    run = await runs.take(1)
    assert run is not None
    monkeypatch.setattr(single, "place_of", lambda *_: None)
    monkeypatch.setattr(single, "conduct", broken)
    status, said = await started(runs, config, capsys)
    assert status == 3
    evidence = read_evidence(tmp_path / "artifacts" / RUN, RUN)
    verdict = judge(run, Status(Phase.ERROR, "exit status 3"), None, evidence, 60)
    assert verdict.state is RunState.ERROR
    assert verdict.reason.startswith("prepare: internal: a fault of agency, not of the recipe")
    assert "in broken" in said, "the log has the traceback"
    assert "hunter2" not in said + str(verdict)


def test_a_run_has_the_time_that_the_configuration_gives_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner's limit comes first: what it ends has timed out, and did not fail."""
    (tmp_path / "bin").mkdir()
    for name in ("abra", "git"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for minutes in (5, 240):
        read = read_config(config).model_copy(update={"build_timeout_minutes": minutes})
        assert minutes * 60 < place_of(read, "unix:///none", Clock()).run_s <= minutes * 60 + 120


def a_run() -> Run:
    return Run(RUN, 1, order(7), RunState.RUNNING, 0)


def token_of(config: RecipesConfig, run: Run) -> str | None:
    token = wanted_of(config, run).source.token
    return None if token is None else token.reveal()


def test_a_run_has_the_log_ins_of_its_programs_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registries_here().login("registry.example.org/app:1") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert registries_here().login("registry.example.org/app:1") is None, "it is optional"
    pair = base64.b64encode(b"puller:let-me-in").decode()
    config = {"auths": {"registry.example.org": {"auth": pair}}}
    (tmp_path / "registry-credentials").write_text(json.dumps(config))
    login = registries_here().login("registry.example.org/app:1")
    assert login is not None
    assert login.auth() == {"username": "puller", "password": "let-me-in"}
    assert registries_here().login("elsewhere.example/app:1") is None


def test_a_credential_that_is_no_log_in_is_not_the_recipes_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "registry-credentials").write_text("hunter2-in-the-wrong-file")
    with pytest.raises(PrerequisiteError) as caught:
        registries_here()
    assert caught.value.hint == "agency secrets set registry-credentials"
    assert "hunter2" not in str(caught.value)
