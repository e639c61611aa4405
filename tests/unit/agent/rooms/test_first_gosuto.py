"""The first Gosuto of an account in rooms: it is waited for, and told where it is hidden."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from as_nobody import hiding_place

from agency.agent.rooms.config import ChatConfig
from agency.agent.rooms.listening import PolicyError
from agency.agent.rooms.process import chat
from agency.clock import Clock


def config(place: Path) -> ChatConfig:
    told = {
        "agent": "pm",
        "user": "@agent-pm:agency.example",
        "homeserver": "http://127.0.0.1:1",
        "gosuto": str(place / "closed" / "policy.json"),
        "waits": True,
        "state": str(place / "state"),
        "model": {"url": "http://127.0.0.1:1"},
    }
    return ChatConfig.model_validate_json(json.dumps(told))


async def test_one_that_is_hidden_is_told_and_one_that_is_not_there_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hiding_place() as place:
        (place / "closed").mkdir()
        (place / "matrix-token").write_text("token-of-the-account")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place))
        waiting = asyncio.create_task(chat(config(place), Clock()))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "a positive control"
        (place / "closed").chmod(0)
        with pytest.raises(PolicyError, match=r"no policy, no work: .*Permission denied") as caught:
            await asyncio.wait_for(waiting, 30)
    assert caught.value.where == str(place / "closed" / "policy.json")
