"""The conversation must have been the whole life of an agent, in order."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agency.transcript.rules.v1.scenario import Order, order
from agency.transcript.rules.v2.judge import PROBES

Evidence = dict[str, dict[str, Any]]
RULE = PROBES["scenario.commands"]


@pytest.fixture
def talk(evidence: Evidence) -> dict[str, Any]:
    return copy.deepcopy(evidence["scenario.commands"])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("!agency agents start pm --project=x", Order("start", "pm")),
        ('!start-agent pm --project="x"', Order("start", "pm")),
        ("/ruriko agents stop pm", Order("stop", "pm")),
        ("!stop-agent pm", Order("stop", "pm")),
        ("!agent-status pm", Order("status", "pm")),
        ("!agency  agents\tstatus pm", Order("status", "pm")),
        ("!start-agentx pm", None),
        ("!agency agents list", None),
        ("say !agency agents start pm", None),
        ("!agency agents start", None),
    ],
)
def test_what_a_message_asks(said: str, meant: Order | None) -> None:
    assert order(said) == meant


@pytest.mark.parametrize(("without", "verb"), [(1, "start"), (2, "status"), (4, "stop")])
def test_a_life_without_one_of_its_parts_is_refused(
    without: int, verb: str, talk: dict[str, Any]
) -> None:
    del talk["commands"][without]
    verdict = RULE.judge(talk)
    assert not verdict.ok
    assert verb in verdict.reason


def test_the_order_matters(talk: dict[str, Any]) -> None:
    talk["commands"].reverse()
    assert not RULE.judge(talk).ok


def test_the_parts_must_be_of_one_agent(talk: dict[str, Any]) -> None:
    talk["commands"][4]["said"] = "!agency agents stop developer"
    assert not RULE.judge(talk).ok


def test_the_start_must_name_the_project(talk: dict[str, Any]) -> None:
    talk["commands"][1]["said"] = "!start-agent pm"
    assert "project" in RULE.judge(talk).reason


def test_the_status_must_show_the_project(talk: dict[str, Any]) -> None:
    talk["commands"][2]["reply"] = "pm: running"
    assert "project" in RULE.judge(talk).reason


@pytest.mark.parametrize("index", [1, 2, 4])
def test_a_part_that_was_refused_does_not_count(index: int, talk: dict[str, Any]) -> None:
    talk["commands"][index] |= {"ok": False, "expectedOk": False}
    assert not RULE.judge(talk).ok


@pytest.mark.parametrize("shared", ["eventId", "replyId", "trace"])
def test_one_event_cannot_stand_for_two_commands(shared: str, talk: dict[str, Any]) -> None:
    talk["commands"][0][shared] = talk["commands"][1][shared]
    assert not RULE.judge(talk).ok


@pytest.mark.parametrize(
    ("flag", "value"), [("ok", False), ("expectedOk", False), ("matched", False)]
)
def test_an_unexpected_reply_is_refused(flag: str, value: bool, talk: dict[str, Any]) -> None:
    talk["commands"][0][flag] = value
    verdict = RULE.judge(talk)
    assert not verdict.ok
    assert "commands.0" in verdict.reason


def test_a_command_cannot_be_its_own_reply(talk: dict[str, Any]) -> None:
    talk["commands"][0]["replyId"] = talk["commands"][0]["eventId"]
    assert not RULE.judge(talk).ok


def test_another_agents_life_may_be_told_in_between(talk: dict[str, Any]) -> None:
    other = copy.deepcopy(talk["commands"][1])
    other |= {
        "said": "!agency agents start developer --project=new-app",
        "eventId": "$other",
        "replyId": "$other-reply",
        "trace": "tr-other",
    }
    talk["commands"].insert(2, other)
    assert RULE.judge(talk).ok
