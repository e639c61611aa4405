"""docs/first-agent.md, followed line by line in a real room, with an agent that is a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from first_agent import WALK, make_walk
from vault_places import leaks


@pytest.fixture
def walk(homeserver: Any, control: Any, wait_for: Callable[..., Any]) -> Any:
    def kill(agent: str) -> None:
        os.kill(control.pid_of(agent), signal.SIGKILL)

    return make_walk(homeserver, control, wait_for, kill, {})


def test_the_page_is_followed_line_by_line(walk: Any) -> None:
    walk.follow(WALK)
    said = "\n".join(walk.transcript)
    assert walk.value not in said
    assert walk.value not in str(walk.homeserver.messages(walk.tokens["alice"], walk.room_id))
    assert leaks(walk.control, walk.value) == []
    assert leaks(walk.control, "forge-token") != [], "the search finds what is there"
    assert walk.control.verify() == 0
