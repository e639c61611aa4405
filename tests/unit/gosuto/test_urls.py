"""URLs: one meaning or none; compared by parts."""

from __future__ import annotations

import string
from urllib.parse import urlsplit

import pytest
from gosutos import document, rule
from hypothesis import given
from hypothesis import strategies as st

from agency.gosuto import Answer, decide
from agency.gosuto.urls import UnreadableError, read_host, read_url

PREFIX = "https://docs.example.org/guide"
GUIDE = document({"read": rule("web/fetch", "allow", url={"prefix": PREFIX})})
INSIDE = [
    "https://docs.example.org/guide",
    "https://docs.example.org/guide/",
    "https://docs.example.org/guide/a/b?q=../..#x",
    "HTTPS://DOCS.EXAMPLE.ORG/guide/a",
    "https://docs.example.org:443/guide",
    "https://docs.example.org/guide/%C3%A4%20b",
]
# Each is a way around a comparison of texts, or read differently by different programs.
OUTSIDE = [
    "https://docs.example.org.evil.org/guide",
    "https://docs.example.org@evil.org/guide",
    "https://docs.example.org:pass@evil.org/guide",
    "https://evil.org/https://docs.example.org/guide",
    "https://docs.example.org:8443/guide",
    "https://docs.example.org:0443/guide",
    "https://docs.example.org:/guide",
    "https://docs.example.org:443443/guide",
    "http://docs.example.org/guide",
    "https://docs.example.org/guides",
    "https://docs.example.org/Guide",
    "https://docs.example.org/guide/../admin",
    "https://docs.example.org/guide/%2e%2e/admin",
    "https://docs.example.org/guide/%2E./admin",
    "https://docs.example.org/guide/..%2fadmin",
    "https://docs.example.org/guide/..%5cadmin",
    "https://docs.example.org/guide/..;/admin",
    "https://docs.example.org/guide/..\\admin",
    "https://docs.example.org\\@evil.org/guide",
    "https:\\\\docs.example.org\\guide",
    "https:/docs.example.org/guide",
    "https:docs.example.org/guide",
    "//docs.example.org/guide",
    "docs.example.org/guide",
    "https://docs.example.org//guide",
    "https://docs.example.org/%67uide",
    "https://docs.example.org/guide/%00",
    "https://docs.example.org/guide/%",
    "https://docs.example.org/guide/%zz",
    "https://docs.example.org/guide/%252e%252e/admin",
    "https://docs.example.org/guide\n",
    " https://docs.example.org/guide",
    "https://docs.example.org/guide\t/..",
    "https://docs\u3002example.org/guide",
    "https://d\u043ecs.example.org/guide",
    "https://docs.ex\u00adample.org/guide",
    "https://docs.example.org./guide",
    "https://docs%2eexample.org/guide",
    "https://[docs.example.org]/guide",
    "javascript://docs.example.org/guide",
    "file://docs.example.org/guide",
    "https://docs.example.org/guide" + "a" * 9000,
    "",
]


@pytest.mark.parametrize("url", INSIDE)
def test_what_is_below_the_prefix_is_allowed(url):
    assert decide(GUIDE, "web/fetch", {"url": url}).answer is Answer.ALLOW


@pytest.mark.parametrize("url", OUTSIDE)
def test_nothing_else_is(url):
    assert decide(GUIDE, "web/fetch", {"url": url}).answer is Answer.DENY


# Ways to write an address or path that a rule denies; every one must meet the denial.
DENIED = document(
    {
        "all": rule("web/fetch", "allow"),
        "loopback": rule("web/fetch", "deny", url={"hosts": ["127.0.0.1", "[::1]"]}),
        "admin": rule("web/fetch", "deny", url={"prefix": "https://example.org/admin"}),
    }
)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::1%25eth0]/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "https://example.org/admin",
        "https://EXAMPLE.org:443/admin/x",
        "https://example.org/%61dmin",
        "https://example.org//admin",
        "https://example.org/./admin",
        "https://example.org/x/../admin",
        "https://example.org/admin;x=1",
        "https://user@example.org/admin",
    ],
)
def test_a_denied_place_is_denied_however_it_is_written(url):
    assert decide(DENIED, "web/fetch", {"url": url}).answer is Answer.DENY


def test_another_place_is_not_denied():
    for url in ("https://example.org/", "https://example.org/administration", "http://10.0.0.1/"):
        assert decide(DENIED, "web/fetch", {"url": url}).answer is Answer.ALLOW


HOSTED = document({"r": rule("web/fetch", "allow", url={"hosts": ["*.example.org", "b.org"]})})


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("https://a.example.org/", "allow"),
        ("wss://x.a.example.org:9/", "allow"),
        ("A.Example.Org", "allow"),
        ("b.org", "allow"),
        ("example.org", "deny"),
        ("notexample.org", "deny"),
        ("x.b.org", "deny"),
        ("b.org/", "deny"),
        ("b.org:443", "deny"),
        ("b.org@evil.org", "deny"),
        ("*.example.org", "deny"),
        (".example.org", "deny"),
        ("a..example.org", "deny"),
    ],
)
def test_hosts(value, answer):
    assert decide(HOSTED, "web/fetch", {"url": value}).answer == answer


SEGMENT = st.text(string.ascii_letters + string.digits + "-_~", min_size=1, max_size=5)


@given(st.lists(SEGMENT, max_size=4), st.lists(SEGMENT, max_size=4))
def test_below_is_below_by_whole_segments(prefix, path):
    below = read_url(f"https://x.org/{'/'.join(path)}").is_below(
        read_url(f"https://x.org/{'/'.join(prefix)}")
    )
    assert below == (path[: len(prefix)] == prefix)


PIECES = st.lists(
    st.sampled_from(
        [*"/?#@:;.%[]\\ ", "//", "..", "%2e", "%41", "a", "b.org", "443", "\u3002", "1"]
    ),
    max_size=8,
).map("".join)


@given(st.sampled_from(["https://a.org", "http://", "WSS://"]), PIECES)
def test_what_is_read_has_the_host_that_others_read(beginning, rest):
    """Whatever is read at all is read as the standard library reads it, too."""
    text = beginning + rest
    try:
        url = read_url(text)
    except UnreadableError:
        return
    other = urlsplit(text)
    assert (other.hostname or "") == url.host.strip("[]")
    assert other.username is None
    assert not {".", "..", ""} & set(url.segments)


@given(st.text(max_size=30))
def test_a_host_that_is_read_stays_as_it_is(text):
    try:
        host = read_host(text)
    except UnreadableError:
        return
    assert read_host(host) == host
    assert host.isascii()
