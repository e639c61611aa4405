"""Known formats of tokens in messages, and what only looks like one."""

from __future__ import annotations

import hashlib
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.events import parse_event
from agency.control.leaks import token_in

WORD = (string.ascii_letters + string.digits) * 2
DASHES = "-" * 5
# Made of pieces: what looks for tokens in the source finds none here.
TOKENS = {
    "a GitHub token": ["gh" + "p_" + WORD[:36], "github" + "_pat_" + WORD[:40]],
    "a GitLab token": ["gl" + "pat-" + WORD[:20], "gl" + "rt-" + WORD[:24]],
    "a token of this agency's HTTP interface": ["ag" + "t_" + WORD[:43]],
    "an API key": ["sk" + "-proj-" + WORD[:48], "sk" + "-ant-api03-" + WORD[:40]],
    "an AWS access key": ["AK" + "IA" + "ABCDEFGH12345678"],
    "a Slack token": ["xo" + "xb-" + "123456789012-" + WORD[:12]],
    "an age key": ["AGE-SECRET" + "-KEY-1" + (string.ascii_uppercase * 3)[:58]],
    "a Matrix access token": ["sy" + "t_YWxpY2U_" + WORD[:20] + "_1a2B3c"],
    "a Google API key": ["AI" + "za" + WORD[:35]],
    "a private key": [f"{DASHES}BEGIN OPENSSH {'PRIVATE'} KEY{DASHES}"],
}
EACH = [(kind, token) for kind, tokens in TOKENS.items() for token in tokens]
HARMLESS = [
    hashlib.sha256(b"x").hexdigest(),
    "sha256:" + hashlib.sha256(b"x").hexdigest(),
    "sk-learn-the-language-of-the-house-today",
    "!agency agents start sk-a-worker-of-the-agency",
    "task-force-with-a-long-name-0123456789abcdef",
    "AKIA",
    "the AKIAN people",
    f"{DASHES}BEGIN CERTIFICATE{DASHES}",
    f"{DASHES}BEGIN PUBLIC KEY{DASHES}",
    "agep_" + WORD[:40],
    "lease-0123456789abcdef",
    "op-0123456789abcdef0123456789",
    WORD,
]


@pytest.mark.parametrize(("kind", "token"), EACH)
@pytest.mark.parametrize("around", ["{}", "here: {}.", "`{}`", "x={}\nand more", "<b>{}</b>"])
def test_a_token_is_noticed_wherever_it_stands(kind: str, token: str, around: str) -> None:
    assert token_in("no token", around.format(token)) == kind


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_left_alone(text: str) -> None:
    assert token_in(text) is None


@given(st.text(string.hexdigits.lower(), min_size=1, max_size=128))
def test_digests_are_arguments(text: str) -> None:
    assert token_in(f"!agency agents start pm --project={text}") is None


def message(**content: Any) -> Any:
    return parse_event(
        {
            "type": "m.room.message",
            "event_id": "$e",
            "room_id": "!r:x.org",
            "sender": "@alice:x.org",
            "origin_server_ts": 1,
            "content": {"msgtype": "m.text", **content},
        }
    )


TOKEN = "gh" + "p_" + WORD[:36]
PLACES: dict[str, dict[str, Any]] = {
    "the text": {"body": f"it is {TOKEN}"},
    "its HTML alone": {"body": "it is here", "formatted_body": f"it is <b>{TOKEN}</b>"},
    "an edit": {
        "body": "* harmless",
        "m.new_content": {"msgtype": "m.text", "body": TOKEN},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$o"},
    },
    "the quotation of a reply": {
        "body": f"> <@bob:x.org> {TOKEN}\n\n!agency ping",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$o"}},
    },
}


@pytest.mark.parametrize("content", PLACES.values(), ids=PLACES)
def test_nothing_of_such_a_message_is_kept(content: dict[str, Any]) -> None:
    event = message(**content)
    assert event.leak == "a GitHub token"
    assert TOKEN not in event.content_json()
    assert TOKEN not in repr(event)


def test_another_message_is_kept_as_it_is() -> None:
    event = message(body="!agency ping")
    assert (event.leak, event.text) == ("", "!agency ping")


@pytest.mark.parametrize(
    "piece", ["sk-", "-sk-a", "gl" + "pat-", "mat_=", "xo" + "xb-1", "-----BEGIN ", "npm_", "AKIA"]
)
def test_long_texts_are_searched_in_linear_time(piece: str) -> None:
    """A text of 64 KiB would take seconds if each place looked through the rest of it."""
    text = piece * (65_536 // len(piece))
    began = time.thread_time()
    token_in(text)
    assert time.thread_time() - began < 1.0
