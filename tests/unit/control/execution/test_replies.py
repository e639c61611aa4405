"""What a Matrix client is given as an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from agency.control.events import EventKind, IncomingEvent
from agency.control.execution.replies import Reply, printable, reply_message
from agency.control.execution.tables import table
from agency.control.operations import Origin

EVENT = IncomingEvent("$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", "!agency ping")
MAX_EVENT_BYTES = 65_536


class Tags(HTMLParser):
    """Which tags a text has."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def content(reply: Reply, event: IncomingEvent = EVENT) -> dict[str, object]:
    return reply_message(reply, Origin.of_event(event), as_user="@bot:x", trace="t-1").content


def test_reply_stands_in_the_thread_of_the_command() -> None:
    message = reply_message(
        Reply(True, "pong"), Origin.of_event(EVENT), as_user="@bot:x", trace="t-1"
    )
    assert (message.room_id, message.as_user, message.trace) == ("!r:x", "@bot:x", "t-1")
    assert message.content["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$e",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$e"},
    }
    assert message.content["org.agency.reply"] == {
        "command": "$e",
        "trace": "t-1",
        "ok": True,
        "final": True,
    }
    assert message.content["msgtype"] == "m.notice"


def test_reply_that_names_somebody_calls_nobody() -> None:
    assert content(Reply(True, "@room is not an agent"))["m.mentions"] == {}
    assert content(Reply(True, "all", "actor @alice:x"))["m.mentions"] == {}
    assert "m.mentions" not in content(Reply(True, "pong"))


def test_command_inside_a_thread_is_answered_there() -> None:
    event = IncomingEvent(
        "$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", "!agency ping", thread="$root"
    )
    relation = content(Reply(True, "pong"), event)["m.relates_to"]
    assert isinstance(relation, dict)
    assert relation["event_id"] == "$root"
    assert relation["m.in_reply_to"] == {"event_id": "$e"}


def test_answer_to_an_edit_stands_at_the_original() -> None:
    event = IncomingEvent(
        "$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", "!agency ping", replaces="$old"
    )
    relation = content(Reply(False, "no"), event)["m.relates_to"]
    assert isinstance(relation, dict)
    assert relation["event_id"] == "$old"


def test_command_that_reads_differently_is_quoted_as_understood() -> None:
    origin = replace(Origin.of_event(EVENT), understood='!agency agents start pm --project="<b>"')
    for block, rest in (("", ""), ("list", "\n\nlist")):
        answer = reply_message(
            Reply(True, "done", block), origin, as_user="@bot:x", trace="t-1"
        ).content
        assert answer["body"] == (
            f'Understood: !agency agents start pm --project="<b>"\ndone{rest}'
        )
        assert "&lt;b&gt;&quot;<br>done" in answer["formatted_body"]
    long = replace(origin, understood="x" * 9000)
    answer = reply_message(Reply(True, "done"), long, as_user="@bot:x", trace="t-1").content
    assert len(answer["body"]) < 1100
    assert answer["body"].endswith("\ndone")


def test_same_event_gives_the_same_transaction() -> None:
    one, two = (
        reply_message(Reply(ok, "x"), Origin.of_event(EVENT), as_user="@bot:x", trace="t")
        for ok in (True, False)
    )
    assert one.txn_id == two.txn_id


@given(st.text(), st.text())
def test_html_is_escaped_and_nothing_is_hidden(text: str, block: str) -> None:
    answer = content(Reply(True, text, block))
    tags = Tags()
    tags.feed(str(answer["formatted_body"]))
    assert tags.seen <= {"br", "pre", "code"}
    assert all(
        character == "\n" or character.isprintable() or character == "\u3000"
        for character in str(answer["body"])
        if not character.isspace()
    )
    json.dumps(answer, ensure_ascii=False).encode()


def test_hostile_text_is_shown_as_text() -> None:
    answer = content(Reply(False, "<img src=x onerror=y>", "</code><script>"))
    formatted = str(answer["formatted_body"])
    assert "<img" not in formatted
    assert "<script>" not in formatted
    assert "&lt;script&gt;" in formatted


def test_characters_that_cannot_be_seen_are_spelled_out() -> None:
    assert printable("a\u202eb\u200bc\0d\ud800\n") == "a\\u{202e}b\\u{200b}c\\u{0}d\\u{d800}\n"


def test_reply_fits_into_an_event_however_long_it_is() -> None:
    for text in ("&" * 100_000, "\0" * 100_000, "\U0001f600" * 100_000, '"' * 100_000):
        answer = content(Reply(True, text, text))
        assert len(json.dumps(answer, ensure_ascii=False).encode()) < MAX_EVENT_BYTES, text[:1]
        assert "[cut]" in str(answer["body"])


def test_table_aligns_its_columns() -> None:
    assert table(("A", "B"), [("long", "1"), ("x", "22")]) == "A     B\nlong  1\nx     22"
    assert table((), [("a", "b")]) == "a  b"
