"""`codingAgent.enable` puts a program into the agent's home: which, whose, and what it starts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agency import naming
from agency.workspace.commands import workspace

Texts = dict[str, Any]
MODULE = Path(__file__).resolve().parents[3] / "modules/agents/coding-agent.nix"
PROGRAM = "agent.coding-agent"


def test_each_home_has_a_link_to_a_program_of_the_store(texts: Texts) -> None:
    made = texts["codingAgent"]
    links = {path: kinds["L+"] for path, kinds in made.items() if path.endswith(PROGRAM)}
    assert "/home/agent-pm/bin/agent.coding-agent" in links
    for path, link in links.items():
        user = Path(path).parts[2]
        assert link["user"] == user == naming.agent_user(user.removeprefix("agent-"))
        assert re.fullmatch(rf"/nix/store/[a-z0-9]{{32}}-{re.escape(PROGRAM)}", link["to"])
        assert [drv.endswith(f"-{PROGRAM}.drv") for drv in link["from"]] == [True]
        directory = made[str(Path(path).parent)]["d"]
        assert (directory["user"], directory["mode"]) == (user, "0755")
    assert len({link["to"] for link in links.values()}) == len(links), "each is its own agent's"


def test_the_link_is_made_and_what_it_names_can_be_run(texts: Texts, tmp_path: Path) -> None:
    """By the real systemd-tmpfiles, below a directory; the store's program is a stand-in."""
    tmpfiles = shutil.which("systemd-tmpfiles")
    if tmpfiles is None:
        pytest.skip("systemd-tmpfiles is not here: Debian has it in the package systemd")
    path = f"/home/agent-pm/bin/{PROGRAM}"
    target = texts["codingAgent"][path]["L+"]["to"]
    stand_in = tmp_path / target.lstrip("/")
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text("#!/bin/sh\necho started\n")
    stand_in.chmod(0o555)
    rules = f"d {Path(path).parent} 0755 - - -\nL+ {path} - - - - {target}\n"
    argv = [tmpfiles, "--create", f"--root={tmp_path}", "-"]
    for _ in range(2):
        done = subprocess.run(argv, input=rules, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    link = tmp_path / path.lstrip("/")
    assert str(link.readlink()) == target
    assert (tmp_path / str(link.readlink()).lstrip("/")).stat().st_mode & 0o111


def test_what_it_starts_is_a_command_of_ours() -> None:
    words = re.search(r'--add-flags "workspace ([a-z -]+) \$\{name\}"', MODULE.read_text())
    assert words is not None
    asked = CliRunner().invoke(workspace, [*words[1].split(), "--help"])
    assert asked.exit_code == 0, asked.output
    assert "NAME" in asked.output
    assert CliRunner().invoke(workspace, ["coding-agent", "walk", "--help"]).exit_code == 2
