"""Homes of agents by the real home-manager: one terminal with people's, and nothing let out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Facts = dict[str, Any]
TERMINAL = {"fd", "gnumake", "jq", "less", "ripgrep"}


@pytest.fixture(scope="module")
def home(new_instance: Callable[..., Path], evaluate: Callable[..., Any], snapshot: Path) -> Facts:
    argv = ["nix-instantiate", "--find-file", "home-manager"]
    if subprocess.run(argv, capture_output=True, timeout=60).returncode != 0:
        locked = json.loads((ROOT / "flake.lock").read_text())["nodes"]["home-manager"]["locked"]
        pytest.skip(
            f"<home-manager> does not resolve; it is nix-community/home-manager at {locked['rev']}"
        )
    file = snapshot / "tests/nix/home.nix"
    found: Facts = evaluate(file, "--argstr", "instance", str(new_instance("home")))
    return found


def test_the_machine_evaluates_without_a_word(home: Facts) -> None:
    assert (home["failing"], home["warnings"]) == ([], [])
    assert home["toplevel"].endswith(".drv")
    for who in ("agent", "person"):
        assert (home[who]["failing"], home[who]["warnings"]) == ([], [])


def test_only_who_asks_has_a_home_of_modules(home: Facts) -> None:
    assert home["homes"] == ["agent-pm", "alice"]


def test_agents_and_people_share_one_terminal(home: Facts) -> None:
    for who in ("agent", "person"):
        assert set(home[who]["packages"]) >= TERMINAL
        assert home[who]["git"]["init"]["defaultBranch"] == "main"
        assert any(path.endswith("git/config") for path in home[who]["files"])
    assert "hello" in home["agent"]["packages"]
    assert "hello" not in home["person"]["packages"]


def test_an_agent_commits_under_its_own_name(home: Facts) -> None:
    assert home["agent"]["directory"] == "/home/agent-pm"
    assert home["agent"]["git"]["user"]["name"] == "agent-pm"
    assert home["agent"]["git"]["user"]["email"] == "agent-pm@agency.example.org"
    assert "user" not in home["person"]["git"]


@pytest.mark.parametrize("unit", ["agent", "loop"])
def test_its_units_find_what_the_home_brings(home: Facts, unit: str) -> None:
    text = home["units"][unit]
    path = 'Environment="PATH=/etc/profiles/per-user/agent-pm/bin:/run/current-system/sw/bin"'
    assert path in text
    assert r"After=home-manager-agent\x2dpm.service" in text
    assert "home-manager-path" in home["agent"]["profile"]
    assert "per-user" not in home["units"]["other"]


def test_the_home_is_made_without_running_what_the_agent_wrote(home: Facts) -> None:
    """A login shell would read its ~/.profile, and Nix its configuration, next to the daemon."""
    lines = home["units"]["activation"].splitlines()
    (start,) = [one for one in lines if one.startswith("ExecStart=")]
    assert start == f"ExecStart={home['agent']['activation']}/activate --driver-version 1"
    assert 'Environment="NIX_USER_CONF_FILES=/dev/null"' in lines
    for line in (
        "User=agent-pm",
        "Slice=agency-agents-pm.slice",
        "PrivateNetwork=true",
        "RestrictAddressFamilies=AF_UNIX",
        "ProtectHome=tmpfs",
        "BindPaths=/home/agent-pm",
    ):
        assert line in lines
    # A person's is upstream's, by a login shell.
    assert "hm-setup-env" in home["units"]["person"]
