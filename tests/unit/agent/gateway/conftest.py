"""A dispatcher without servers, for each test."""

from pathlib import Path

import pytest
from gateway_desk import Desk, FakeTools, policy, tool


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(
        tmp_path, FakeTools({"web/echo": tool("web/echo"), "files/read": tool("files/read")})
    )
    desk.dispatcher.set_policy(
        policy({"echo": ("web/echo", "allow"), "read": ("files/read", "ask")})
    )
    return desk
