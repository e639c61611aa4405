"""The register of approvals: questions about tools, and the time of what was restored."""

from typing import Any

import pytest
from gateway_desk import Desk

from agency.agent.gateway.calls.approvals import Question


def ask(desk: Desk, about: Any, tool: str, digest: str, ttl_s: float = 60) -> str:
    assert desk.dispatcher.policy is not None
    policy = desk.dispatcher.policy.sha256
    question = Question(about, tool, digest, policy, None, "shown", None)
    return desk.approvals.ask(question, ttl_s)


def kinds(desk: Desk) -> dict[str, str]:
    return {each.id: each.kind for each in desk.approvals.waiting()}


@pytest.mark.parametrize("but", ["", "2" * 64])
def test_questions_about_the_tools_of_one_server_are_dropped(desk: Desk, but: str) -> None:
    old = ask(desk, "tools", "web/*", "1" * 64)
    newest = ask(desk, "tools", "web/*", "2" * 64)
    other = ask(desk, "tools", "files/*", "3" * 64)
    call = ask(desk, "call", "web/*", "4" * 64)
    all_of_them = {old: "tools", newest: "tools", other: "tools", call: "call"}
    assert kinds(desk) == all_of_them
    desk.approvals.drop_tools("web/*", but=but)
    gone = {old} if but else {old, newest}
    left = {name: kind for name, kind in all_of_them.items() if name not in gone}
    assert kinds(desk) == left
    assert {desk.approvals.outcome(each) for each in gone} == {"expired"}
    kept = desk.dispatcher.policy
    desk.begin()
    desk.dispatcher.set_policy(kept)
    assert kinds(desk) == left, "nor do they come back"


def test_a_restored_approval_ends_when_it_would_have_ended(desk: Desk) -> None:
    """By the steady clock too: the wall's may be set back, which makes no approval last longer."""
    name = ask(desk, "call", "web/echo", "1" * 64, ttl_s=60)
    desk.times.pass_(40)
    desk.begin()
    desk.times.went += 19
    assert list(kinds(desk)) == [name]
    desk.times.went += 2
    assert kinds(desk) == {}
