"""An agent that a command made, in a slot with a program: it works, and leaves nothing to the next.

Everything is real but the model, as in test_working_agent.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_model import Turn
from working_contained import working_agency

from agency.agent.models.conversation import ToolCall
from working import ECHO, SLOT, Agency, within


@pytest.fixture(
    scope="module", params=["process", pytest.param("docker", marks=pytest.mark.docker)]
)
def agency(
    homeserver: Any, make_shared_control: Callable[..., Any], request: pytest.FixtureRequest
) -> Iterator[Agency]:
    """An agency whose agent helper was made by a command, and works in a slot.

    Of a module, for its directory has a short name: the path of a socket has at most 107 bytes.
    """
    engine = request.getfixturevalue("containers") if request.param == "docker" else None
    with working_agency(homeserver, make_shared_control, engine, {}, slot=True) as made:
        yield made


def answered(agency: Agency, question: str, answer: str) -> None:
    """Ask in the agent's room, and see it use its tool and answer in the thread."""
    call = ToolCall("call-1", "web__echo", json.dumps({"text": answer}))
    agency.model.script[:] = [Turn(calls=(call,)), Turn(answer)]
    event = agency.ask(question)
    within(lambda: agency.said(event) == answer, agency.logs)


def test_it_answers_by_its_own_name_and_the_next_in_the_slot_knows_nothing_of_it(
    agency: Agency,
) -> None:
    answered(agency, "How is the weather?", "It is sunny.")
    assert agency.called()[-1] == ["echo", {"text": "It is sunny."}]
    prompt = json.dumps(agency.model.asked[-1].body["messages"])
    assert "You are helper" in prompt
    shown = agency.order("!agency agents show helper")
    assert "helper" in shown
    assert "running" in shown

    assert agency.kept()
    agency.decided("!agency agents delete helper")
    assert not agency.token_files()
    assert agency.kept() == []
    assert "helper" not in agency.order("!agency agents list")

    told = agency.order("!agency agents create other --template=developer")
    assert told.startswith("other is made"), told
    agency.name, agency.keys = "other", {}
    agency.invite()
    agency.give(ECHO)
    agency.start()
    agency.model.asked.clear()
    answered(agency, "And the wind?", "It is calm.")
    prompt = json.dumps(agency.model.asked[0].body["messages"])
    assert "You are other" in prompt
    assert "weather" not in prompt
    assert SLOT not in prompt
