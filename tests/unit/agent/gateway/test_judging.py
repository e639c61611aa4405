"""Judgement on calls: like-looking names, encoded paths, other schemes, arguments that are none."""

import pytest
from gateway_desk import policy, tool
from hypothesis import given
from hypothesis import strategies as st

from agency.agent.gateway.calls.judging import (
    Offered,
    arguments_digest,
    call_digest,
    judge,
    listed,
    shown_arguments,
)
from agency.agent.gateway.calls.tools import full_name
from agency.gosuto import Answer

PREFIX = {"arguments": {"url": {"prefix": "https://docs.agency.example/open"}}}
HOSTS = {"arguments": {"url": {"hosts": ["docs.agency.example"]}}}
OFFERED = Offered({name: tool(name) for name in ("web/echo", "web/erase", "files/read")})
POLICY = policy(
    {
        "echo": ("web/echo", "allow"),
        "read": ("files/read", "ask"),
        "erase": ("web/erase", "deny"),
    }
)


def test_allow_ask_and_deny_come_with_their_rule() -> None:
    told = {
        name: (found.answer, found.rule, found.why)
        for name in OFFERED.tools
        for found in [judge(POLICY, OFFERED, name, {})]
    }
    assert told == {
        "web/echo": (Answer.ALLOW, "echo", None),
        "files/read": (Answer.ASK, "read", None),
        "web/erase": (Answer.DENY, "erase", "policy"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "web__echo",
        "Web/echo",
        "web/Echo",
        "web/echo ",
        " web/echo",
        "web/ech\u043e",  # Cyrillic o
        "web/echo\u200b",
        "web\uff0fecho",
        "web\u2215echo",
        "web//echo",
        "web/./echo",
        "web/../web/echo",
        "web%2Fecho",
        "web/echo%00",
        "web/echo\x00",
        "web/echo\n",
        "web",
        "",
        "*",
        "web/*",
        "builtin/web/echo",
    ],
)
def test_a_name_that_looks_like_an_allowed_one_is_none(name: str) -> None:
    found = judge(POLICY, OFFERED, name, {})
    assert (found.answer, found.tool) == (Answer.DENY, None)
    assert judge(POLICY, OFFERED, "web/echo", {}).answer is Answer.ALLOW


@pytest.mark.parametrize(
    ("public", "full"),
    [
        ("web__echo", "web/echo"),
        ("web__a__b", "web/a__b"),
        ("web__a.b-c", "web/a.b-c"),
        ("web/echo", ""),
        ("web_echo", ""),
        ("WEB__echo", ""),
        ("web__", ""),
        ("__echo", ""),
        ("web__echo\n", ""),
        ("web__ech\u043e", ""),
        ("web__..%2fecho", ""),
    ],
)
def test_the_programs_name_of_a_tool_has_one_reading(public: str, full: str) -> None:
    assert full_name(public) == full


@given(st.text(max_size=40))
def test_no_other_text_is_the_name_of_a_tool(name: str) -> None:
    found = judge(POLICY, OFFERED, name, {})
    assert (found.answer is not Answer.DENY) == (name in ("web/echo", "files/read"))


OTHER_HOSTS = [
    "file:///etc/passwd",
    "https://docs.agency.example@evil.example/open",
    "https://docs.agency.example\\@evil.example/open",
    "https://docs.agency.example.evil.example/open",
    "//docs.agency.example/open",
    "https://127.1/open",
    "https://[::ffff:127.0.0.1]/open",
    "https://docs.agency.ex\u0430mple/open",
    "https://docs.agency.example/open/../secret",
    "https://docs.agency.example/open/%2e%2e/secret",
    "https://docs.agency.example/open%2f..%2fsecret",
    "",
]
OTHER_PATHS = [
    *OTHER_HOSTS,
    "https://docs.agency.example/open/%252e%252e/secret/../x",
    "http://docs.agency.example/open",
    "https://docs.agency.example/opened",
]


@pytest.mark.parametrize(
    ("condition", "url"),
    [*((HOSTS, url) for url in OTHER_HOSTS), *((PREFIX, url) for url in OTHER_PATHS)],
)
def test_urls_of_other_places_and_with_two_meanings_are_refused(condition, url: str) -> None:
    limited = policy({"echo": ("web/echo", "allow", condition)})
    assert judge(limited, OFFERED, "web/echo", {"url": url}).answer is Answer.DENY
    good = judge(limited, OFFERED, "web/echo", {"url": "https://docs.agency.example/open/a"})
    assert good.answer is Answer.ALLOW


def test_a_limited_argument_that_is_missing_is_refused() -> None:
    limited = policy({"echo": ("web/echo", "allow", PREFIX)})
    assert judge(limited, OFFERED, "web/echo", {"text": "x"}).answer is Answer.DENY


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "args",
    [
        {"text": float("nan")},
        {"text": "\ud800"},
        {"text": nested(40)},
        {"text": "x" * 65_536},
        {"text": object()},
        {"unknown": "x"},
        {"text": 7},
    ],
)
def test_arguments_that_are_none_are_refused(args: dict[str, object]) -> None:
    found = judge(POLICY, OFFERED, "web/echo", args)
    assert (found.answer, found.why) == (Answer.DENY, "arguments")
    assert judge(POLICY, OFFERED, "web/echo", {"text": "x"}).answer is Answer.ALLOW
    assert arguments_digest(args) != arguments_digest({"text": "x"})


def test_the_bound_on_arguments_is_the_exact_one() -> None:
    room = 64 * 1024 - len('{"text":""}')
    assert judge(POLICY, OFFERED, "web/echo", {"text": "x" * room}).answer is Answer.ALLOW
    assert judge(POLICY, OFFERED, "web/echo", {"text": "x" * (room + 1)}).answer is Answer.DENY


def test_a_question_is_shown_whole_or_not_asked() -> None:
    room = 8 * 1024 - len('{"text": ""}')
    assert judge(POLICY, OFFERED, "files/read", {"text": "x" * room}).answer is Answer.ASK
    found = judge(POLICY, OFFERED, "files/read", {"text": "x" * (room + 1)})
    assert (found.answer, found.why) == (Answer.DENY, "arguments")
    assert judge(POLICY, OFFERED, "web/echo", {"text": "x" * (room + 1)}).answer is Answer.ALLOW


def test_what_a_person_sees_hides_no_letter() -> None:
    shown = shown_arguments({"text": "p\u0430y\u202e gpj.\x1b[2J\n"})
    assert shown.isascii()
    assert shown.isprintable()
    assert "\\u0430" in shown
    assert "\\u202e" in shown


def test_denied_and_unknown_tools_are_not_listed() -> None:
    assert [each.full for each in listed(POLICY, OFFERED)] == ["files/read", "web/echo"]
    assert listed(None, OFFERED) == ()
    assert listed(policy({}), OFFERED) == ()
    everything = policy({"all": ("*", "allow"), "not": ("web/erase", "deny")})
    assert [each.full for each in listed(everything, OFFERED)] == ["files/read", "web/echo"]
    sometimes = policy({"all": ("*", "allow"), "not": ("web/erase", "deny", PREFIX)})
    assert len(listed(sometimes, OFFERED)) == 3


def test_a_tool_that_no_server_offers_is_refused_though_allowed() -> None:
    anything = policy({"all": ("*", "allow")})
    found = judge(anything, OFFERED, "web/other", {})
    assert (found.answer, found.why) == (Answer.DENY, "no-tool")
    cut_off = Offered(OFFERED.tools, frozenset({"web"}))
    assert judge(anything, cut_off, "web/echo", {}).why == "cut-off"
    assert judge(anything, cut_off, "files/read", {}).answer is Answer.ALLOW


def test_the_digest_binds_tool_arguments_and_policy() -> None:
    other = policy({"echo": ("web/echo", "ask")})
    digests = {
        call_digest(POLICY, "web/echo", {"text": "a"}),
        call_digest(POLICY, "web/echo", {"text": "b"}),
        call_digest(POLICY, "web/erase", {"text": "a"}),
        call_digest(other, "web/echo", {"text": "a"}),
    }
    assert len(digests) == 4
    assert call_digest(POLICY, "web/echo", {"b": 1, "a": 2}) == call_digest(
        POLICY, "web/echo", {"a": 2, "b": 1}
    )
