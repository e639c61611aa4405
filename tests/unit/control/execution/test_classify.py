"""The table of what is done with a message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.control.commands import looks_like_command
from agency.control.events import EventKind, IncomingEvent
from agency.control.execution.classify import Disposition, Rules, classify
from agency.control.policy import People, Policy

NOW = 1_800_000_000_000
ROOM = "!control:x.org"
RULES = Rules(
    room_id=ROOM,
    policy=Policy(People(frozenset({"@alice:x.org", "@bob:far.org"}))),
    bot_id="@agency:x.org",
    agents=frozenset({"@agent-pm:x.org"}),
    domain="x.org",
    max_age_s=600,
    looks_like_command=looks_like_command,
)
GOOD = IncomingEvent(
    "$e", ROOM, "@alice:x.org", NOW - 1000, EventKind.MESSAGE, "m.text", "!agency ping"
)
SILENT, IGNORE, REFUSE, RUN = Disposition

BOT = ("@agency:x.org",)
SPOKEN = {"text": "agency: ping", "mentions": BOT}

TABLE = [
    ("an operator's command", {}, RUN, ""),
    ("another operator", {"sender": "@bob:far.org"}, RUN, ""),
    ("short form", {"text": "!start-agent pm"}, RUN, ""),
    ("mistaken first word", {"text": "!start-agentx pm"}, RUN, ""),
    ("in a thread", {"thread": "$root"}, RUN, ""),
    ("exactly as old as may be", {"origin_ts": NOW - 600_000}, RUN, ""),
    ("a little in the future", {"origin_ts": NOW + 300_000}, RUN, ""),
    ("line break at the end", {"text": "!agency ping\r\n"}, RUN, ""),
    ("mention before it", {"text": "agency: !agency ping"}, RUN, ""),
    ("full id before it", {"text": "@agency:x.org !agency ping", "mentions": BOT}, RUN, ""),
    ("mention, edited", {"text": "agency: !agency ping", "replaces": "$o"}, REFUSE, "edited"),
    ("mention of another", {"text": "agencies: !agency ping"}, SILENT, ""),
    ("spoken to", {"text": "agency: ping", "mentions": BOT}, REFUSE, "no-command"),
    ("spoken to by its id", {"text": "@agency:x.org ping"}, REFUSE, "no-command"),
    ("a word like its name", {"text": "agency: ping"}, SILENT, ""),
    ("mentioned in talk", {"text": "thanks, agency", "mentions": BOT}, SILENT, ""),
    ("spoken to, edited", {**SPOKEN, "replaces": "$o"}, SILENT, ""),
    ("spoken to, old", {**SPOKEN, "origin_ts": 0}, SILENT, ""),
    ("spoken to by a notice", {**SPOKEN, "msgtype": "m.notice"}, SILENT, ""),
    ("spoken to by a stranger", {**SPOKEN, "sender": "@eve:x.org"}, SILENT, ""),
    ("spoken to by an agent", {**SPOKEN, "sender": "@agent-pm:x.org"}, SILENT, ""),
    ("spoken to elsewhere", {**SPOKEN, "room_id": "!other:x.org"}, SILENT, ""),
    ("two slashes", {"text": "//agency ping"}, RUN, ""),
    ("chat", {"text": "hello"}, SILENT, ""),
    ("empty", {"text": ""}, SILENT, ""),
    ("command inside a sentence", {"text": "say !agency ping"}, SILENT, ""),
    ("chat of a stranger", {"text": "hello", "sender": "@eve:x.org"}, SILENT, ""),
    ("edited chat", {"text": "hello", "replaces": "$old"}, SILENT, ""),
    ("the bot itself", {"sender": "@agency:x.org"}, IGNORE, "own-message"),
    ("an agent", {"sender": "@agent-pm:x.org"}, IGNORE, "own-message"),
    ("an agent that is configured no more", {"sender": "@agent-x:x.org"}, IGNORE, "own-message"),
    ("the bot, elsewhere", {"sender": "@agency:x.org", "room_id": "!o:x"}, IGNORE, "own-message"),
    ("the bot, edited", {"sender": "@agency:x.org", "replaces": "$o"}, IGNORE, "own-message"),
    ("another room", {"room_id": "!other:x.org"}, IGNORE, "other-room"),
    ("another room, stranger", {"room_id": "!o:x", "sender": "@eve:x"}, IGNORE, "other-room"),
    ("another room, edited", {"room_id": "!o:x", "replaces": "$old"}, IGNORE, "other-room"),
    ("notice", {"msgtype": "m.notice"}, IGNORE, "not-text"),
    ("emote", {"msgtype": "m.emote"}, IGNORE, "not-text"),
    ("file of that name", {"msgtype": "m.file"}, IGNORE, "not-text"),
    ("no type", {"msgtype": ""}, IGNORE, "not-text"),
    ("notice of a stranger", {"msgtype": "m.notice", "sender": "@e:x"}, IGNORE, "not-text"),
    ("stranger", {"sender": "@eve:x.org"}, REFUSE, "not-an-operator"),
    ("same localpart, other server", {"sender": "@alice:evil.org"}, REFUSE, "not-an-operator"),
    ("same id, longer server", {"sender": "@alice:x.org.evil"}, REFUSE, "not-an-operator"),
    ("other case", {"sender": "@Alice:x.org"}, REFUSE, "not-an-operator"),
    ("agent of another server", {"sender": "@agent-pm:evil"}, REFUSE, "not-an-operator"),
    ("stranger, edited", {"sender": "@e:x", "replaces": "$old"}, REFUSE, "not-an-operator"),
    ("stranger, old", {"sender": "@e:x", "origin_ts": 0}, REFUSE, "not-an-operator"),
    ("edit", {"replaces": "$old"}, REFUSE, "edited"),
    ("edit of nothing", {"replaces": ""}, REFUSE, "edited"),
    ("old edit", {"replaces": "$old", "origin_ts": 0}, REFUSE, "edited"),
    ("too old", {"origin_ts": NOW - 600_001}, REFUSE, "too-old"),
    ("before the epoch", {"origin_ts": -1}, REFUSE, "too-old"),
    ("in the future", {"origin_ts": NOW + 300_001}, REFUSE, "in-future"),
]


@pytest.mark.parametrize(
    ("changes", "disposition", "code"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_table(changes: dict[str, object], disposition: Disposition, code: str) -> None:
    verdict = classify(replace(GOOD, **changes), RULES, NOW)
    assert (verdict.disposition, verdict.code) == (disposition, code)
    assert bool(verdict.message) is (disposition is REFUSE), "who is refused is told why"


ENCRYPTED = [
    ("an operator's", {}, REFUSE),
    ("a stranger's", {"sender": "@eve:x.org"}, REFUSE),
    ("an old one", {"origin_ts": 0}, REFUSE),
    ("the bot's", {"sender": "@agency:x.org"}, SILENT),
    ("in another room", {"room_id": "!other:x.org"}, SILENT),
]


@pytest.mark.parametrize(
    ("changes", "disposition"), [row[1:] for row in ENCRYPTED], ids=[row[0] for row in ENCRYPTED]
)
def test_encrypted(changes: dict[str, object], disposition: Disposition) -> None:
    event = replace(GOOD, kind=EventKind.ENCRYPTED, msgtype="", text="", **changes)
    verdict = classify(event, RULES, NOW)
    assert verdict.disposition is disposition
    if disposition is REFUSE:
        assert verdict.code == "encrypted"
        assert "must not be encrypted" in verdict.message


def test_ages_are_said_in_words() -> None:
    old = classify(replace(GOOD, origin_ts=NOW - 7_200_000), RULES, NOW)
    assert old.message.startswith("This command is 2 hours old, and the limit is 10 minutes.")
    future = classify(replace(GOOD, origin_ts=NOW + 3 * 86_400_000), RULES, NOW)
    assert "dated 3 days in the future" in future.message


@given(
    sender=st.sampled_from(["@alice:x.org", "@eve:x.org", "@agency:x.org", "@agent-pm:x.org"]),
    room_id=st.sampled_from([ROOM, "!other:x.org"]),
    msgtype=st.sampled_from(["m.text", "m.notice", ""]),
    text=st.sampled_from(["!agency ping", "hello"]),
    replaces=st.sampled_from([None, "", "$old"]),
    kind=st.sampled_from(EventKind),
    origin_ts=st.integers(NOW - 2_000_000, NOW + 2_000_000),
)
def test_what_runs_is_a_fresh_command_of_an_operator_in_the_control_room(
    sender: str,
    room_id: str,
    msgtype: str,
    text: str,
    replaces: str | None,
    kind: EventKind,
    origin_ts: int,
) -> None:
    event = IncomingEvent("$e", room_id, sender, origin_ts, kind, msgtype, text, replaces)
    verdict = classify(event, RULES, NOW)
    may = (
        sender == "@alice:x.org"
        and room_id == ROOM
        and msgtype == "m.text"
        and text.startswith("!")
        and replaces is None
        and kind in (EventKind.MESSAGE, EventKind.REACTION)  # which stands for a command
        and -300_000 <= NOW - origin_ts <= 600_000
    )
    assert (verdict.disposition is RUN) is may
    if sender in ("@agency:x.org", "@agent-pm:x.org") or room_id != ROOM:
        assert verdict.disposition in (SILENT, IGNORE), "never answered"
