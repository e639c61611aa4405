"""Launches of command-line agents: what is rendered, what is refused, what is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agency.agent.programs.command.launching import Launch, LaunchError, OwnTools, Settings
from agency.agent.programs.command.registry import AGENTS, launch_of
from agency.agent.programs.command.writing import (
    check_directory,
    environment_of,
    read_token,
    write_files,
)

PAIR = ("told-to-the-proxy", "told-to-the-gateway")
every_agent = pytest.mark.parametrize("name", sorted(AGENTS))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name, text in zip(("model", "gateway"), PAIR, strict=True):
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "workspace").mkdir()
    return Settings(
        model_url="http://127.0.0.1:2100/v1",
        model="small",
        model_token=tmp_path / "model",
        gateway_url="http://127.0.0.1:2200/mcp",
        gateway_token=tmp_path / "gateway",
        own_tools=OwnTools.OFF,
        workspace=tmp_path / "workspace",
        state=tmp_path / "state",
    )


def told(launch: Launch) -> str:
    files = [(str(file.path), file.content) for file in launch.files]
    return json.dumps([files, launch.argv, dict(launch.environment)])


@every_agent
@pytest.mark.parametrize("own", list(OwnTools))
def test_a_launch_is_pure_and_holds_no_token(name: str, own: OwnTools, settings: Settings) -> None:
    launch = launch_of(name, replace(settings, own_tools=own))
    assert launch == launch_of(name, replace(settings, own_tools=own))
    assert not [token for token in PAIR if token in told(launch)]
    assert {file.mode for file in launch.files} == {0o600}
    assert all(file.path.is_relative_to(settings.state) for file in launch.files)


@every_agent
def test_the_addresses_are_the_given_ones(name: str, settings: Settings) -> None:
    given = replace(
        settings, model_url="http://127.0.0.1:7001/v1", gateway_url="http://127.0.0.1:7002/mcp"
    )
    text = told(launch_of(name, given))
    assert "http://127.0.0.1:7001/v1" in text
    assert "http://127.0.0.1:7002/mcp" in text


@every_agent
def test_it_starts_in_the_workspace_only_with_tools_for_it(name: str, settings: Settings) -> None:
    confined = launch_of(name, replace(settings, own_tools=OwnTools.CONFINED))
    assert confined.directory == settings.workspace
    off = launch_of(name, settings).directory
    assert not off.is_relative_to(settings.workspace)


@every_agent
@pytest.mark.parametrize(
    "change",
    [
        {"model_url": "https://api.example/v1"},
        {"model_url": "http://127.0.0.1.example/v1"},
        {"model_url": "http://user:word@127.0.0.1/v1"},
        {"gateway_url": "file:///etc/passwd"},
        {"gateway_url": "http://10.0.0.1/mcp"},
        {"model": ""},
        {"model": "{file:/etc/shadow}"},
        {"model": "$HOME"},
        {"state": Path("state")},
        {"workspace": Path("/srv/../etc")},
        {"model_token": Path("/srv/{env:HOME}")},
    ],
    ids=str,
)
def test_settings_that_cannot_be_launched(
    name: str, change: dict[str, object], settings: Settings
) -> None:
    launch_of(name, settings)
    with pytest.raises(LaunchError):
        launch_of(name, replace(settings, **change))  # type: ignore[arg-type]  # by parameter


@pytest.mark.parametrize("part", ["model_token", "gateway_token", "state"])
def test_the_workspace_holds_neither_state_nor_tokens(part: str, settings: Settings) -> None:
    inside = {part: settings.workspace / "kept"}
    with pytest.raises(LaunchError, match="in the workspace"):
        launch_of("opencode", replace(settings, **inside))  # type: ignore[arg-type]  # by parameter


def test_an_agent_that_is_none(settings: Settings) -> None:
    with pytest.raises(LaunchError, match="opencode, qwen-code"):
        launch_of("../opencode", settings)


@every_agent
def test_what_is_written_holds_a_token_only_where_said(name: str, settings: Settings) -> None:
    launch = launch_of(name, settings)
    write_files(launch)
    for file in launch.files:
        text = file.path.read_text()
        assert (PAIR[1] in text) == (file.token is not None)
        assert PAIR[0] not in text
        assert file.path.stat().st_mode & 0o777 == 0o600
        json.loads(text)
    assert launch.directory.is_dir()
    assert sorted(path.name for path in settings.state.iterdir() if path.is_file()) == sorted(
        file.path.name for file in launch.files
    )


@every_agent
def test_the_environment_is_the_launch_s_own(name: str, settings: Settings) -> None:
    inherited = {"PATH": "/bin", "HTTPS_PROXY": "http://x", "OPENAI_API_KEY": "theirs", "HOME": "/"}
    launch = launch_of(name, settings)
    got = environment_of(launch, settings, inherited)
    assert got["PATH"] == "/bin"
    assert got["HOME"] == str(settings.state)
    assert "HTTPS_PROXY" not in got
    assert "theirs" not in got.values()
    assert {key for key, value in got.items() if value in PAIR} == set(launch.tokens)


def test_code_that_would_run_unasked_is_refused(settings: Settings) -> None:
    settings = replace(settings, own_tools=OwnTools.CONFINED)
    agent, launch = AGENTS["opencode"], launch_of("opencode", settings)
    check_directory(agent, launch)
    (settings.workspace / ".opencode").symlink_to("/nowhere")
    with pytest.raises(LaunchError, match="whatever it is told"):
        check_directory(agent, launch)
    check_directory(agent, launch_of("opencode", replace(settings, own_tools=OwnTools.OFF)))


def test_such_code_above_the_workspace_is_refused_too(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".opencode").mkdir()
    for own in OwnTools:
        launch = launch_of("opencode", replace(settings, own_tools=own))
        with pytest.raises(LaunchError, match="whatever it is told"):
            check_directory(AGENTS["opencode"], launch)


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "a\0b", "ä", "x" * 5000])
def test_a_file_that_holds_no_token(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("good\n")
    assert read_token(path) == "good"
    path.write_text(text)
    with pytest.raises(LaunchError, match="no token"):
        read_token(path)


def test_a_token_s_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="cannot be read"):
        read_token(tmp_path / "nothing")


@pytest.fixture
def configured(settings: Settings, tmp_path: Path) -> Path:
    """The file of a configuration whose program prints how it was started."""
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, sys\n"
        "said = [sys.argv, dict(os.environ), os.getcwd(), sys.stdin.read()]\n"
        "print(json.dumps(said))\nsys.exit(7)\n"
    )
    told = {
        "agent": "qwen-code",
        "program": [sys.executable, str(program)],
        "modelUrl": settings.model_url,
        "model": settings.model,
        "modelToken": str(settings.model_token),
        "gatewayUrl": settings.gateway_url,
        "gatewayToken": str(settings.gateway_token),
        "ownTools": "off",
        "workspace": str(settings.workspace),
        "state": str(settings.state),
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(told))
    return path


def ran(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [*(sys.executable, "-m", "agency"), *("agent", "command", "--config", str(config))]
    environment = {**os.environ, "OPENAI_BASE_URL": "https://elsewhere.example"}
    return subprocess.run(
        [*argv, *options],
        input="The task.",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_becomes_the_agent(configured: Path, settings: Settings) -> None:
    done = ran(configured)
    assert done.returncode == 7, done.stderr
    argv, environment, directory, task = json.loads(done.stdout)
    assert tuple(argv[1:]) == launch_of("qwen-code", settings).argv
    assert environment["OPENAI_BASE_URL"] == settings.model_url
    assert environment["OPENAI_API_KEY"] == PAIR[0]
    assert (directory, task) == (str(settings.state / "run"), "The task.")


def test_the_command_says_what_would_start_without_secrets(configured: Path) -> None:
    done = ran(configured, "--check", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    assert "OPENAI_API_KEY" in told["environment"]
    assert not [token for token in PAIR if token in done.stdout + done.stderr]


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("agent", "nobody", 1),
        ("ownTools", "all", 1),
        ("modelUrl", "https://api.example/v1", 1),
        ("program", ["/nowhere/agent"], 3),
        ("token", "in-the-configuration", 1),
    ],
)
def test_a_configuration_that_does_not_start(
    key: str, value: object, status: int, configured: Path
) -> None:
    told = json.loads(configured.read_text())
    configured.write_text(json.dumps({**told, key: value}))
    done = ran(configured)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
