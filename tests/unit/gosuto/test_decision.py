"""Decisions: deny by default, the strictest applies, what cannot be decided is refused."""

from __future__ import annotations

import json
import time

import pytest
from gosutos import ARGUMENTS, RULE_SETS, RULES, TOOLS, document, rule
from hypothesis import given

from agency.errors import UsageError
from agency.gosuto import (
    Answer,
    Decision,
    decide,
    findings,
    may_be_called,
    read_arguments,
    read_document,
)

ORDER = [Answer.ALLOW, Answer.ASK, Answer.DENY]


def strict(answer):
    return ORDER.index(answer)


def test_nothing_is_allowed_by_default():
    assert decide(document({}), "web/fetch", {}) == Decision(Answer.DENY, None, "no rule allows it")


@pytest.mark.parametrize(
    "name", ["", "fetch", "web/", "/fetch", "*", "web/*", "web/fetch\n", "Web/x"]
)
def test_what_is_no_tools_name_is_refused_even_where_all_are_allowed(name):
    found = document({"all": rule("*", "allow")})
    assert decide(found, "web/fetch", {}).answer is Answer.ALLOW
    assert decide(found, name, {}).answer is Answer.DENY


def test_a_server_is_its_whole_name():
    found = document({"all": rule("web/*", "allow")})
    assert decide(found, "web/fetch", {}).answer is Answer.ALLOW
    for tool in ("web-admin/fetch", "webx/fetch", "we/b"):
        assert decide(found, tool, {}).answer is Answer.DENY


def test_the_strictest_applies_in_whatever_order():
    rules = {
        "a": rule("web/*", "allow"),
        "b": rule("web/fetch", "ask"),
        "c": rule("*", "deny", method={"exact": "DELETE"}),
    }
    for names in ("abc", "cba", "bca"):
        found = document({name: rules[name] for name in names})
        assert decide(found, "web/post", {"method": "GET"}).rule == "a"
        assert decide(found, "web/fetch", {"method": "GET"}).rule == "b"
        assert decide(found, "web/fetch", {"method": "DELETE"}).rule == "c"


@pytest.mark.parametrize("answer", ["allow", "ask", "deny"])
def test_a_missing_constrained_argument_is_a_refusal(answer):
    found = document(
        {"free": rule("web/fetch", "allow"), "r": rule("web/fetch", answer, url={"regex": ".*"})}
    )
    assert decide(found, "web/fetch", {"url": "x"}).answer == answer
    assert decide(found, "web/fetch", {}) == Decision(Answer.DENY, "r", "url is missing")


@pytest.mark.parametrize(
    ("constraint", "holds", "fails", "undecided"),
    [
        ({"exact": "GET"}, ["GET"], ["get", "GET "], [1, True, None, ["GET"]]),
        ({"exact": 1}, [1, 1.0], [2, 0], [True, "1", None]),
        ({"exact": True}, [True], [False], [1, "true"]),
        ({"regex": "a+"}, ["a", "aaa"], ["ab", "ba", "a\n", "a\nb", ""], [1, None, "\ud800"]),
        ({"regex": "(?i)get"}, ["GET"], ["GETS"], [{}]),
        ({"range": {"min": 1, "max": 5}}, [1, 5, 2.5], [0, 5.1], [True, "3", float("nan"), None]),
        ({"range": {"min": 1}}, [10**400], [-(10**400)], [float("inf")]),
    ],
)
def test_constraints(constraint, holds, fails, undecided):
    allow = document({"r": rule("web/fetch", "allow", x=constraint)})
    deny = document(
        {"all": rule("web/fetch", "allow"), "r": rule("web/fetch", "deny", x=constraint)}
    )
    for value in holds:
        assert decide(allow, "web/fetch", {"x": value}).answer is Answer.ALLOW
        assert decide(deny, "web/fetch", {"x": value}).answer is Answer.DENY
    for value in fails:
        assert decide(allow, "web/fetch", {"x": value}).answer is Answer.DENY
        assert decide(deny, "web/fetch", {"x": value}).answer is Answer.ALLOW
    for value in undecided:
        assert decide(allow, "web/fetch", {"x": value}).answer is Answer.DENY
        assert decide(deny, "web/fetch", {"x": value}).answer is Answer.DENY


def test_an_argument_inside_another_is_found_by_its_path():
    found = document({"r": rule("web/fetch", "allow", **{"/options/0": {"exact": "a"}})})
    assert decide(found, "web/fetch", {"options": ["a"]}).answer is Answer.ALLOW
    for args in ({}, {"options": []}, {"options": "a"}, {"options": ["b"]}, {"/options/0": "a"}):
        assert decide(found, "web/fetch", args).answer is Answer.DENY


def test_a_pattern_takes_no_longer_than_its_text():
    found = document({"r": rule("web/fetch", "allow", x={"regex": "(a*)*b"})})
    began = time.thread_time()
    assert decide(found, "web/fetch", {"x": "a" * 50_000}).answer is Answer.DENY
    assert time.thread_time() - began < 2
    assert decide(found, "web/fetch", {"x": "a" * 70_000 + "b"}).answer is Answer.DENY


@given(RULE_SETS, TOOLS, ARGUMENTS)
def test_every_call_has_an_answer_and_its_rule(rules, tool, args):
    found = document(rules)
    decision = decide(found, tool, args)
    assert decision.reason
    answers = {each.rule: each.answer for each in findings(found, tool, args)}
    if decision.rule is None:
        assert decision.answer is Answer.DENY
        assert not any(answers.values())
    else:
        assert answers[decision.rule] is decision.answer


@given(RULE_SETS, RULES, TOOLS, ARGUMENTS)
def test_a_further_denial_never_widens(rules, more, tool, args):
    before = decide(document(rules), tool, args).answer
    after = decide(document({**rules, "further": {**more, "answer": "deny"}}), tool, args).answer
    assert strict(after) >= strict(before)


@given(RULE_SETS, RULES, TOOLS, ARGUMENTS)
def test_no_further_rule_takes_a_denial_away(rules, more, tool, args):
    before = decide(document(rules), tool, args)
    after = decide(document({**rules, "further": more}), tool, args)
    if before.rule is not None:
        assert strict(after.answer) >= strict(before.answer)


@given(RULE_SETS, TOOLS, ARGUMENTS)
def test_the_order_of_the_rules_means_nothing(rules, tool, args):
    backwards = dict(reversed(rules.items()))
    assert (
        decide(document(rules), tool, args).answer is decide(document(backwards), tool, args).answer
    )


@given(RULE_SETS, ARGUMENTS)
def test_a_tool_that_no_rule_names_is_refused(rules, args):
    named = {name: each for name, each in rules.items() if each["tool"] != "*"}
    assert decide(document(named), "unknown/tool", args).answer is Answer.DENY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        '{"a": 1, "a": 2}',
        '{"x": {"a": 1, "a": 2}}',
        '{"a": NaN}',
        "{" * 9000,
        "x" * 70000,
    ],
)
def test_arguments_with_more_than_one_meaning_are_no_arguments(text):
    with pytest.raises(UsageError):
        read_arguments(text)


def test_arguments_are_an_object():
    assert read_arguments('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


def test_rules_are_read_once_for_many_decisions(monkeypatch):
    from agency.gosuto import constraints

    rules = {
        f"r{n}": {
            "tool": "web/fetch",
            "answer": "allow",
            "arguments": {"url": {"prefix": f"https://once{n}.example.org/"}},
        }
        for n in range(100)
    }
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "mcpServers": {"web": {"command": ["web"]}},
        "capabilities": rules,
    }
    large = read_document("large", json.dumps(told).encode())
    read = []

    def counted(text, real=constraints.read_url):
        read.append(text)
        return real(text)

    monkeypatch.setattr(constraints, "read_url", counted)
    for number in (7, 8, 9):
        found = decide(large, "web/fetch", {"url": f"https://once{number}.example.org/a"})
        assert (found.answer, found.rule) == ("allow", f"r{number}")
    assert len(read) == len(rules) + 3  # each rule and each value once


def test_a_tool_that_no_arguments_could_get_allowed_is_known():
    told = {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": "pm"},
        "mcpServers": {"web": {"command": ["web"]}},
        "approvals": {"approvers": ["@a:agency.example"]},
        "capabilities": {
            "one": {"tool": "web/one", "answer": "allow"},
            "two": {"tool": "web/two", "answer": "ask"},
            "some": {"tool": "web/*", "answer": "deny", "arguments": {"n": {"exact": 1}}},
            "never": {"tool": "web/never", "answer": "deny"},
            "not": {"tool": "web/never", "answer": "allow"},
        },
    }
    document = read_document("test", json.dumps(told).encode())
    names = ("web/one", "web/two", "web/never", "web/other", "web/one\n", "web", "*")
    assert [each for each in names if may_be_called(document, each)] == ["web/one", "web/two"]
