"""An alert's words are one line each, and only words."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.alerts.delivery import Alert
from agency.control.alerts.wording import MAX_LINES, News, clean, tell
from agency.secrets import Redactor, SecretValue

SECRET = "canary-5d1f-not-for-the-room"
BEGAN = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
redact = Redactor([SecretValue(SECRET)]).redact
hostile = st.lists(
    st.text(max_size=20)
    | st.sampled_from(
        [
            "@room",
            "@ROOM",
            "@alice:x.org",
            "a@room ",
            "@@room",
            "<b>",
            "</",
            "&lt;",
            "\n",
            "\r\n",
            "\u2028",
            "\u2029",
            "\u202e",
            "\0",
            "\x1b[31m",
            "`",
            "[a](b)",
            SECRET,
            "\U000e0041",
            "https://matrix.to/#/@alice:x.org",
            "\ufeff",
            "@\u200broom",
        ]
    ),
    max_size=12,
).map("".join)


def alert(
    name: str = "A", *, firing: bool = True, severity: str = "critical", **words: str
) -> Alert:
    return Alert(
        "k", firing, name, severity, words.get("summary", ""), words.get("description", ""), BEGAN
    )


@given(hostile, st.integers(min_value=1, max_value=300))
def test_text_is_one_plain_line(text: str, most: int) -> None:
    said = clean(text, most, redact)
    assert len(said) <= most
    assert said == said.strip() or len(said) == most
    assert not set(said) & set("<>\n\r\u2028\u2029")
    assert not any(unicodedata.category(one)[0] == "C" for one in said)
    assert not re.search(r"@room\b", said, re.IGNORECASE)
    assert not re.search(r"(^|[\s/(\"'])@\w", said)
    assert SECRET not in said


@given(st.lists(st.tuples(hostile, hostile, hostile, st.booleans()), min_size=1, max_size=20))
def test_message_has_a_line_each_and_no_more(parts: list[tuple[str, str, str, bool]]) -> None:
    news = [
        News(alert(name, firing=firing, summary=summary, description=description))
        for name, summary, description, firing in parts
    ]
    lines = tell(news, 0, redact).split("\n")
    assert len(lines) == min(len(news), MAX_LINES) + (len(news) > MAX_LINES)
    assert all(line.startswith(("Critical: ", "Over: ", "and ")) for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agency-agent@pm.service has failed", "agency-agent@pm.service has failed"),
        ("http://127.0.0.1:8008/health", "http://127.0.0.1:8008/health"),
        ("tell @alice:x.org and @room!", "tell @ alice:x.org and @ room!"),
        ("a  b\n!agency agents stop pm", "a b !agency agents stop pm"),
        ("<b>5 %</b>", "\u2039b\u203a5 %\u2039/b\u203a"),
        (f"it said {SECRET}", "it said [***]"),
    ],
)
def test_words_that_mean_no_harm_stay(text: str, said: str) -> None:
    assert clean(text, 200, redact) == said


def test_firing_and_over_are_told_apart() -> None:
    lines = tell(
        [
            News(alert("DiskFillsUp", firing=False, summary="/ is full")),
            News(alert("UnitFailed", summary="pm.service has failed", description="Look.")),
            News(alert("Odd", severity="<h1>"), again=True),
        ],
        left_out=2,
        redact=redact,
    ).split("\n")
    assert lines == [
        "Critical: UnitFailed: pm.service has failed. Look. (since 2027-01-15 08:00 UTC)",
        "Still alert: Odd (since 2027-01-15 08:00 UTC)",
        "Over: DiskFillsUp: / is full (it began 2027-01-15 08:00 UTC)",
        "and 2 more: `amtool alert` on the machine lists them",
    ]
