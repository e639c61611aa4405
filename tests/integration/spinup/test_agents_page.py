"""docs/agents.md, followed to its end: its commands in a shell, its steps in the rooms."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import BIN, ROOT
from page_walk import AgentWalk, Homeserver, Page, Shell, environment, parts, wait_for

PAGE = ROOT / "docs" / "agents.md"


@pytest.fixture
def shell() -> Iterator[Shell]:
    with tempfile.TemporaryDirectory(prefix="walk-") as directory:
        place = Path(directory)
        made = Shell(place, environment(place))
        try:
            yield made
        finally:
            made.close()
            subprocess.run(
                [str(BIN / "agency"), "down", "--yes"], env=made.environment, cwd=place, check=False
            )


@pytest.mark.thorough
def test_the_page_leads_from_nothing_to_an_agent_that_works(shell: Shell) -> None:
    def enter() -> AgentWalk:
        state = Path(shell.environment["XDG_STATE_HOME"]) / "agency" / "local"
        login = json.loads((state / "login.json").read_text())
        tokens = {"alice": login["access_token"]}
        homeserver = Homeserver(login["homeserver"])
        return AgentWalk(
            homeserver, None, wait_for, tokens, login["control_room"], lambda _: None, ""
        )

    page = Page(shell, enter)
    began = time.monotonic()
    try:
        page.follow(PAGE.read_text())
    finally:
        if kept := os.environ.get("WALK_TRANSCRIPT"):
            rooms = [] if page.walk is None else page.walk.transcript
            took = f"{time.monotonic() - began:.1f} s"
            Path(kept).write_text("\n".join([*shell.log, *rooms, took]))
    assert page.walk is not None
    key = (page.place / "model.key").read_text().strip()
    said = "\n".join([*shell.log, *page.walk.transcript])
    assert key not in said
    state = Path(shell.environment["XDG_STATE_HOME"])
    found = [each for each in state.rglob("*") if each.is_file() and key in each.read_text("latin")]
    assert found == []


def test_every_command_of_the_page_is_in_a_block_that_is_followed() -> None:
    text = PAGE.read_text()
    followed = list(parts(text))
    assert {each.kind for each in followed} == {"console", "yaml", "python", "table"}
    assert text.count("```") == 2 * sum(each.kind != "table" for each in followed)
    assert text.count("\n$ ") == sum(
        each.text.count("\n$ ") + 1 for each in followed if each.kind == "console"
    )
