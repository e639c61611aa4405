"""Agents of the audit log's callers that run in containers, by a uid that no user has."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency import naming
from agency.workspace.audit.service.peers import agent_of


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    for name in ("pm", "developer"):
        (tmp_path / f"{name}.json").touch()
    (tmp_path / "No Name.json").touch()
    return tmp_path


def test_an_agent_in_a_container_is_known_by_its_uid(agents: Path) -> None:
    for name in ("pm", "developer"):
        assert agent_of(naming.container_uid(name), agents) == name
    assert agent_of(naming.container_uid("stranger"), agents) is None
    assert agent_of(naming.agent_uid("pm"), agents) is None, "it has no user on this machine"


def test_of_an_agent_that_left_the_uid_is_nobodys(agents: Path) -> None:
    (agents / "pm.json").unlink()
    assert agent_of(naming.container_uid("pm"), agents) is None


def test_two_agents_that_share_a_uid_are_neither(
    agents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "container_uid", lambda _: naming.CONTAINER_UIDS + 4000)
    assert agent_of(naming.CONTAINER_UIDS + 4000, agents) is None
