"""Contents of messages as clients make them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agency.control.events import IncomingEvent, parse_event

QUOTED = "> <@bob:x.org> is it alive?\n\n"
REPLY = {"m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}}}


def message(body: str, **content: Any) -> IncomingEvent:
    event = parse_event(
        {
            "type": "m.room.message",
            "event_id": "$e",
            "room_id": "!r:x",
            "sender": "@a:x",
            "origin_server_ts": 5,
            "content": {"msgtype": "m.text", "body": body, **content},
        }
    )
    assert event is not None
    return event


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (f"{QUOTED}!agency ping", "!agency ping"),
        ("> <@bob:x.org> one\n> two\n>\n> three\n\n!agency ping", "!agency ping"),
        (QUOTED.replace("\n", "\r\n") + "!agency ping", "!agency ping"),
        ("> <@bob:x.org> !agency agents stop pm\n\nwhy that?", "why that?"),
        (f"{QUOTED}", ""),
        (f"{QUOTED}> !agency ping", "> !agency ping"),
        ("!agency ping", "!agency ping"),
        # No empty line: Markdown shows the second line as a part of the quotation.
        ("> a\n!agency ping", "> a\n!agency ping"),
        ("> a", "> a"),
        ("\n\n!agency ping", "\n\n!agency ping"),
        ("a\n> b\n\n!agency ping", "a\n> b\n\n!agency ping"),
    ],
)
def test_quotation_before_a_reply_is_left_out(body: str, text: str) -> None:
    assert message(body, **REPLY).text == text
    threaded = {"rel_type": "m.thread", "event_id": "$t", "m.in_reply_to": {"event_id": "$asked"}}
    assert message(body, **{"m.relates_to": threaded}).text == text


@pytest.mark.parametrize(
    "relation", [None, {}, [], {"m.in_reply_to": "$x"}, {"rel_type": "m.thread"}]
)
def test_quotation_in_what_is_no_reply_stays(relation: Any) -> None:
    body = f"{QUOTED}!agency ping"
    assert message(body, **{"m.relates_to": relation}).text == body


@pytest.mark.parametrize(
    ("content", "users"),
    [
        ({"m.mentions": {"user_ids": ["@b:x", "@b:x", "@c:x"]}}, ("@b:x", "@c:x")),
        ({"m.mentions": {"user_ids": [5, None, "b", "@\u200bb:x", "@" + "x" * 300]}}, ()),
        ({"m.mentions": {"user_ids": "@b:x"}}, ()),
        ({"m.mentions": ["@b:x"]}, ()),
        ({"formatted_body": '<a href="https://matrix.to/#/@b:x">B</a>: hi'}, ("@b:x",)),
        ({"formatted_body": '<a href="https://matrix.to/#/%40b%3Ax">B</a>'}, ("@b:x",)),
        ({"formatted_body": '<a href="https://matrix.to/#/!r:x">B</a>'}, ()),
        ({"formatted_body": 5}, ()),
        ({"m.mentions": {"user_ids": ["@u:x"] * 9000}}, ("@u:x",)),
    ],
)
def test_mentions(content: dict[str, Any], users: tuple[str, ...]) -> None:
    assert message("hi", **content).mentions == users


@pytest.mark.parametrize(
    "formatted",
    [
        "!agency ping &amp; x",
        "<p>!agency ping &amp; x</p>\n",
        "!agency ping &#38; x<br/>",
        "<mx-reply><blockquote>!agency agents stop pm</blockquote></mx-reply>!agency ping &amp; x",
        "",
        5,
    ],
)
def test_html_that_says_the_same(formatted: object) -> None:
    assert message("!agency ping & x", formatted_body=formatted).shown == ""


@pytest.mark.parametrize(
    "formatted",
    [
        "shall we have lunch?",
        "<p></p>",
        "<span data-mx-spoiler>!agency ping</span>",
        "<del>!agency ping</del>",
        "!agency ping <!-- x -->",
        "<mx-reply>!agency ping</mx-reply>",
        "<mx-reply>!agency ping",
        "!agency\u200b ping",
    ],
)
def test_html_that_may_show_something_else(formatted: str) -> None:
    assert message("!agency ping", formatted_body=formatted).shown
    assert len(message("!agency ping", formatted_body=formatted * 9000).shown) <= 8192


def test_long_quotation_is_read_in_linear_time() -> None:
    text = ">\n" * 300_000
    begun = time.process_time()
    assert message(text, **REPLY).text == text
    assert message(f"{text}\n!agency ping", **REPLY).text == "!agency ping"
    assert time.process_time() - begun < 10  # a read that is not linear takes minutes
