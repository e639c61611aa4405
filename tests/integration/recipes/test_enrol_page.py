"""docs/enroll-recipe.md, followed to its end: its commands in a shell, on a real swarm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from page_walk import Page, Shell, parts
from recipe_bench import on_swarm, override, stand_in

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "enroll-recipe.md"


@pytest.fixture
def shell(swarm, tmp_path):
    """The shell of somebody with a clone of the project beside them, and what runs recipes."""
    here = tmp_path / "here"
    (tmp_path / "home").mkdir()
    here.mkdir()
    (tmp_path / "agency").symlink_to(ROOT)
    stand_in(tmp_path / "bin", {"": override("static-site", port=80)})
    places = (tmp_path / "bin", ROOT / ".venv/bin", ROOT / ".tools/bin", os.environ["PATH"])
    environment = {
        "PATH": ":".join(map(str, places)),
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "DOCKER_HOST": swarm.url,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }
    # The engine has a network of its own, and so 127.0.0.1 is where the apps answer.
    made = Shell(here, environment, inside=swarm.pid)
    yield made
    made.close()


@pytest.mark.thorough
@pytest.mark.timeout(400)
def test_the_page_leads_from_a_recipe_to_a_green_run(shell, swarm):
    page = Page(shell, enter=lambda: pytest.fail("there is no room on this page"))
    page.follow(PAGE.read_text())
    told = "\n".join(shell.log)
    assert "pass: static-site" in told
    assert "fail: static-site" in told
    assert on_swarm(swarm) == []


def test_every_command_of_the_page_is_in_a_block_that_is_followed():
    text = PAGE.read_text()
    followed = list(parts(text))
    assert {each.kind for each in followed} == {"console", "python"}
    assert text.count("```") == 2 * len(followed)
    assert text.count("\n$ ") == sum(
        each.text.count("\n$ ") + 1 for each in followed if each.kind == "console"
    )
