"""Conditions on arguments: each answer with its words, at each edge."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agency.gosuto.constraints import MAX_MATCHED, MAX_PATTERN, Constraint, Held

OTHER_KIND = "is of another kind than the value that it is compared with"
NO_URL = "is not a whole URL that begins with http://, https:// or ws"
SITE = "https://a.org/x"


def test_a_condition_that_holds_says_nothing_more():
    for condition, value in [
        ({"exact": "a"}, "a"),
        ({"exact": ""}, ""),
        ({"exact": 1}, 1.0),
        ({"exact": 0}, 0),
        ({"exact": True}, True),
        ({"exact": False}, False),
        ({"range": {"min": 1, "max": 2}}, 1),
        ({"range": {"min": 1, "max": 2}}, 2),
        ({"range": {"min": 1, "max": 1}}, 1),
        ({"range": {"min": 0}}, 10**30),
        ({"range": {"max": 0}}, -0.5),
        ({"prefix": SITE}, SITE),
        ({"prefix": SITE}, f"{SITE}/y?q=1"),
        ({"hosts": ["b.org", "a.org"]}, "a.org"),
        ({"hosts": ["b.org", "a.org"]}, "https://a.org/"),
        ({"hosts": ["*.a.org"]}, "x.y.a.org"),
        ({"hosts": ["[::1]"]}, "[0:0::1]"),
        ({"regex": "a+"}, "aa"),
        ({"regex": ""}, ""),
        ({"regex": "a*"}, "a" * MAX_MATCHED),
    ]:
        assert Constraint.model_validate(condition).test(value) == (Held.YES, "")


@pytest.mark.parametrize(
    ("condition", "value", "why"),
    [
        ({"exact": "a"}, "b", "is another value"),
        ({"exact": "a"}, "A", "is another value"),
        ({"exact": 1}, 2, "is another value"),
        ({"exact": True}, False, "is another value"),
        ({"range": {"min": 1, "max": 2}}, 0.999, "is below 1"),
        ({"range": {"min": 1, "max": 2}}, 2.001, "is above 2"),
        ({"prefix": SITE}, "https://a.org/y", f"is not below {SITE}"),
        ({"prefix": SITE}, "https://a.org/", f"is not below {SITE}"),
        ({"hosts": ["a.org"]}, "https://b.org/", "has the host b.org, which is not listed"),
        ({"hosts": ["a.org"]}, "B.org", "has the host b.org, which is not listed"),
        ({"hosts": ["*.a.org"]}, "a.org", "has the host a.org, which is not listed"),
        ({"hosts": ["*.a.org"]}, "xa.org", "has the host xa.org, which is not listed"),
        ({"hosts": ["a.org"]}, "x.a.org", "has the host x.a.org, which is not listed"),
        ({"regex": "a+"}, "aab", "does not match the pattern"),
        ({"regex": "a+"}, "baa", "does not match the pattern"),
        ({"regex": "a+"}, "", "does not match the pattern"),
    ],
)
def test_a_condition_that_fails_says_why(condition, value, why):
    assert Constraint.model_validate(condition).test(value) == (Held.NO, why)


@pytest.mark.parametrize(
    ("condition", "value", "why"),
    [
        ({"exact": "1"}, 1, OTHER_KIND),
        ({"exact": 1}, "1", OTHER_KIND),
        ({"exact": 1}, True, OTHER_KIND),
        ({"exact": True}, 1, OTHER_KIND),
        ({"exact": False}, 0, OTHER_KIND),
        ({"exact": 1}, float("inf"), OTHER_KIND),
        ({"exact": "a"}, None, OTHER_KIND),
        ({"exact": "a"}, ["a"], OTHER_KIND),
        ({"range": {"min": 0}}, True, "is not a number"),
        ({"range": {"min": 0}}, "1", "is not a number"),
        ({"range": {"min": 0}}, float("nan"), "is not a number"),
        ({"range": {"min": 0}}, float("inf"), "is not a number"),
        ({"prefix": SITE}, 5, "is not a text"),
        ({"hosts": ["a.org"]}, ["a.org"], "is not a text"),
        ({"regex": ".*"}, None, "is not a text"),
        ({"prefix": SITE}, "ftp://a.org/x", NO_URL),
        ({"hosts": ["a.org"]}, "a.org/", NO_URL),
        ({"hosts": ["a.org"]}, "a.org:443", NO_URL),
        ({"hosts": ["a.org"]}, "a org", "has a host that is no plain name"),
        ({"hosts": ["[::1]"]}, "[::1]:80", "has a host that is no address"),
        ({"hosts": ["[::1]"]}, "[::1]/", "has a host that is no address"),
        ({"hosts": ["a.org"]}, "1.2.3", "has a host that is a number in another notation"),
        ({"regex": "a*"}, "a" * (MAX_MATCHED + 1), "has more than 65536 characters"),
        ({"regex": ".*"}, "\ud800", "is not a text in Unicode"),
    ],
)
def test_a_condition_that_cannot_be_decided_says_why(condition, value, why):
    assert Constraint.model_validate(condition).test(value) == (Held.UNDECIDED, why)


NO_PATTERN = "is not a pattern of RE2 (which has no look-around and no back references)"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({}, "must be exactly one of exact, prefix, hosts, regex, range, and has nothing"),
        (
            {"exact": "a", "range": {"min": 1}},
            "must be exactly one of exact, prefix, hosts, regex, range, and has exact and range",
        ),
        ({"regex": "(?=a)"}, f"{NO_PATTERN}: invalid perl operator: (?="),
        ({"regex": r"(a)\1"}, rf"{NO_PATTERN}: invalid escape sequence: \1"),
        ({"regex": "("}, f"{NO_PATTERN}: missing ): ("),
        ({"regex": "((a{100}){100}){100}"}, f"{NO_PATTERN}: invalid repetition size: {{100}}"),
        ({"regex": "a" * (MAX_PATTERN + 1)}, "has 501 characters, and may have 500"),
        ({"prefix": f"{SITE}?q"}, f"'{SITE}?q' has a query or fragment; end it before that"),
        ({"prefix": f"{SITE}#"}, f"'{SITE}#' has a query or fragment; end it before that"),
        ({"prefix": "a.org"}, f"'a.org' {NO_URL}"),
        ({"prefix": "https://a..org/"}, "'https://a..org/' has a host that is no plain name"),
        ({"hosts": ["*.org"]}, "'*.org' is every host of a top-level domain; name them"),
        ({"hosts": ["*"]}, "'*' has a host that is no plain name"),
        ({"hosts": ["*.*.org"]}, "'*.*.org' has a host that is no plain name"),
        ({"range": {}}, "has neither min nor max; give one of them"),
        ({"range": {"min": 2, "max": 1}}, "has no number in it: min 2 is above max 1"),
    ],
)
def test_a_condition_that_is_none_is_refused(condition, said):
    with pytest.raises(ValidationError) as caught:
        Constraint.model_validate(condition)
    found = [str(each["ctx"]["error"]) for each in caught.value.errors() if "error" in each["ctx"]]
    assert found == [said]


def test_a_condition_at_its_limits_is_taken():
    assert Constraint(regex="a" * MAX_PATTERN).test("a" * MAX_PATTERN) == (Held.YES, "")
    assert Constraint(hosts=["*.b.org"]).test("a.b.org")[0] is Held.YES
    assert Constraint(hosts=["localhost"]).test("localhost")[0] is Held.YES


def test_a_pattern_that_is_refused_writes_nothing_to_the_terminal(capfd):
    with pytest.raises(ValidationError):
        Constraint(regex="(")
    assert capfd.readouterr() == ("", "")
