"""Differences by field, and edits by path."""

from __future__ import annotations

import pytest
from gosutos import BOB, RULE_SETS, document, filled
from hypothesis import given

from agency.errors import UsageError
from agency.gosuto import GosutoError, canonical, compare, edit


def lines(before, after):
    return [str(each) for each in compare(before, after)]


def test_a_difference_names_each_field():
    before = filled("developer")
    after = edit(
        before,
        [
            "limits.eventsPerMinute=10",
            "limits.costUsdPerMonth=",
            "capabilities.hand-in.answer=deny",
        ],
    )
    assert lines(before, after) == [
        '~ capabilities.hand-in.answer: "ask" -> "deny"',
        "- limits.costUsdPerMonth: 100.0",
        "+ limits.eventsPerMinute: 10",
    ]
    assert lines(before, before) == []
    assert '+ apiVersion: "gosuto/v1"' in lines(None, before)


@given(RULE_SETS, RULE_SETS)
def test_documents_differ_in_a_field_or_are_the_same(one, two):
    before, after = document(one), document(two)
    assert bool(compare(before, after)) == (canonical(before) != canonical(after))


def test_edits_of_every_kind():
    before = filled("developer")
    after = edit(
        before,
        [
            f"trust.senders+={BOB}",
            'capabilities.look={"tool":"code/look","answer":"allow"}',
            "capabilities.look.arguments.verb.exact=log",
            "capabilities.hand-in=",
            "persona.prompt=10",
            "persona.temperature=0.5",
            "trust.requireEncryption=true",
            'instructions.role="two\\nlines"',
        ],
    )
    assert after.trust.senders[-1] == BOB
    assert after.capabilities["look"].arguments["verb"].exact == "log"
    assert "hand-in" not in after.capabilities
    assert (after.persona.prompt, after.persona.temperature) == ("10", 0.5)
    assert after.trust.require_encryption is True
    assert after.instructions.role == "two\nlines"
    assert edit(after, [f"trust.senders-={BOB}"]).trust.senders == before.trust.senders


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits", "no edit"),
        ("=1", "no edit"),
        ("limits..x=1", "no path"),
        ("limits.cost=1", "not a known key"),
        ("limits.requestsPerMinute=many", "whole number"),
        ("limits.eventsPerMinute=", "no limits.eventsPerMinute to remove"),
        ("trust.senders-=@carol:x.org", "does not hold"),
        ("trust.senders+=carol", "full Matrix id"),
        ("limits.requestsPerMinute+=1", "no list"),
        ("metadata.name.first=x", "holds no fields"),
        ("approvals=", "nobody is there to be asked"),
        ("apiVersion=gosuto/v2", "this version reads"),
        ("capabilities.x=null", "must be"),
        ("x=" + "[" * 19 + "]" * 19, "not a known key"),
        ("x." * 18 + "x=1", "not a known key"),
    ],
)
def test_an_edit_that_is_none_is_refused(text, said):
    with pytest.raises((UsageError, GosutoError), match=said):
        edit(filled("developer"), [text])


@pytest.mark.parametrize("depth", [20, 250, 600, 3000])
@pytest.mark.parametrize(
    ("field", "begin", "end"),
    [
        ("x=", "[", "]"),
        ("x=", '{"a":', "}"),
        ("", "x.", "=1"),
        ("persona.prompt=", "[", "]"),
        ("trust.rooms+=", "[", "]"),
    ],
)
def test_an_edit_that_is_nested_deeply_is_refused_before_it_is_made(field, begin, end, depth):
    inner = "1" if begin != "x." else "x"
    text = f"{field}{begin * depth}{inner}{end * (depth if inner == '1' else 1)}"
    for edits in ([text], [text, "limits.eventsPerMinute=3"], [text, text]):
        with pytest.raises(UsageError, match="would be nested deeper than 20 levels"):
            edit(filled("developer"), edits)
