"""Messages that begin with a mention of the bot."""

from __future__ import annotations

import pytest

from agency.control.events import EventKind, IncomingEvent
from agency.control.execution.address import speaks_to, without_mention

BOT = "@agency:x.org"


@pytest.mark.parametrize(
    "before",
    [
        "agency: ",
        "Agency: ",
        "@agency ",
        "@agency, ",
        "agency ",
        "@agency:x.org ",
        "@agency:x.org: ",
        " \n@agency:x.org\n",
        "[agency](https://matrix.to/#/@agency:x.org) ",
        "[The Agency](https://matrix.to/#/%40agency%3Ax.org): ",
        "agency:",
    ],
)
def test_mention_before_a_command_is_left_out(before: str) -> None:
    assert without_mention(f"{before}!agency ping", BOT) == "!agency ping"


@pytest.mark.parametrize(
    "text",
    [
        "!agency ping",
        "agencyx !agency ping",
        "the agency: !agency ping",
        "@agency:evil.org !agency ping",
        "@agency:x.org.evil !agency ping",
        "@Agency:X.org !agency ping",
        "[agency](https://matrix.to/#/@agency:evil.org) !agency ping",
        "[agency](https://evil.org/#/@agency:x.org) !agency ping",
        "\u200bagency: !agency ping",
        "agency\u200b: !agency ping",
        "agency!agency ping",
        "agent: !agency ping",
        "",
    ],
)
def test_what_is_no_mention_stays(text: str) -> None:
    assert without_mention(text, BOT) == text


@pytest.mark.parametrize(
    ("text", "marked", "spoken"),
    [
        ("agency: ping", True, True),
        ("Agency", True, True),
        ("@agency:x.org ping", True, True),
        ("@agency:x.org ping", False, True),
        ("[a](https://matrix.to/#/@agency:x.org) ping", False, True),
        ("agency: ping", False, False),  # a word, for all that is known
        ("thanks, @agency:x.org", True, False),
        ("pong, 201 ms after you sent it", True, False),  # a reply to a message of the bot
        ("", True, False),
    ],
)
def test_whoever_speaks_to_the_bot(text: str, marked: bool, spoken: bool) -> None:
    mentions = (BOT,) if marked else ("@agency:evil.org",)
    event = IncomingEvent(
        "$e", "!r:x", "@a:x", 5, EventKind.MESSAGE, "m.text", text, mentions=mentions
    )
    assert speaks_to(event, BOT) is spoken
