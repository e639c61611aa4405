"""What each argument refuses: the place, the words, the suggestion."""

from __future__ import annotations

import pytest

from agency.control.commands import GRAMMAR, parse
from agency.control.grammar.errors import CommandError, Reason
from agency.control.grammar.kinds import settings_of
from agency.control.grammar.printing import format_command

NOUNS = ", ".join(GRAMMAR.nouns)
NAME = "a name is 1 to 25 of a-z, 0-9 and inner dashes, and begins with a letter"
COUNT = "give a whole number from 1 to 100"
TRACE = "`audit tail` shows the trace ids of what was done last"
EMPTY = "leave it out, or give it a value"


def meant(word: str, hint: str) -> str:
    return f'did you mean "{word}"?; {hint}'


# (text, with « and » around what is pointed at), message, suggestion, hint
CASES = [
    (
        "!start-agent «PM»",
        '"PM" cannot be an agent\'s name',
        "pm",
        meant("pm", NAME),
    ),
    (
        "!start-agent «back_end»",
        '"back_end" cannot be an agent\'s name',
        "back-end",
        meant("back-end", NAME),
    ),
    (
        "!stop-agent «1pm»",
        '"1pm" cannot be an agent\'s name',
        None,
        NAME,
    ),
    (
        '!stop-agent «""»',
        '"" cannot be an agent\'s name',
        None,
        NAME,
    ),
    (
        "!stop-agent «p\u0430m»",
        '"p\u0430m" cannot be an agent\'s name, for it holds U+0430 CYRILLIC SMALL LETTER A',
        None,
        NAME,
    ),
    (
        f"!stop-agent «{'x' * 41}»",
        f'"{"x" * 40}..." cannot be an agent\'s name',
        None,
        NAME,
    ),
    (
        f"!stop-agent «{'x' * 40}»",
        f'"{"x" * 40}" cannot be an agent\'s name',
        None,
        NAME,
    ),
    ("!start-agent pm «--project=»", "project is empty", None, EMPTY),
    ('!start-agent pm --project «""»', "project is empty", None, EMPTY),
    ('!start-agent pm --project="«  »"', "project is empty", None, EMPTY),
    (
        f"!start-agent pm --project=«{'x' * 201}»",
        "project has 201 characters, and may have 200",
        None,
        "shorten it",
    ),
    *[
        (
            f"!agency audit tail «{value}»",
            f'"{value}" is not a count from 1 to 100',
            None,
            COUNT,
        )
        for value in ("0", "101", "-1", "+1", "1.0", "ten", "1_0", "٣", "9999999999", "1" * 40)
    ],
    *[
        (
            f"!agency agents logs pm --lines=«{value}»",
            f'"{value}" is not a number of lines from 1 to 100',
            None,
            COUNT,
        )
        for value in ("0", "101", "-1", "ten", "9999999999")
    ],
    ("!agency trace «a/b»", '"a/b" is not a trace id', None, TRACE),
    (
        "!agency help «agents strat»",
        'there is no help on "agents strat"',
        "agents start",
        meant("agents start", f"the topics are: {NOUNS}"),
    ),
    (
        "!agency help «tail»",
        'there is no help on "tail"',
        "audit tail",
        meant("audit tail", f"the topics are: {NOUNS}"),
    ),
    (
        "!agency help «dance   now»",
        'there is no help on "dance now"',
        None,
        f"the topics are: {NOUNS}",
    ),
    (
        '!agency help «""»',
        'there is no help on ""',
        None,
        f"the topics are: {NOUNS}",
    ),
]


@pytest.mark.parametrize(("marked", "message", "suggestion", "hint"), CASES)
def test_refusal(marked, message, suggestion, hint):
    start = marked.index("«")
    end = marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(CommandError) as caught:
        parse(text)
    error = caught.value
    assert error.reason is Reason.BAD_VALUE
    assert (error.start, error.end) == (start, end)
    assert error.text == text
    assert error.message == message
    assert error.suggestion == suggestion
    assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a=1", "a=1"),
        ('"a=1 2"   b=', '"a=1 2" b='),
        ("a='1 2'", '"a=1 2"'),
        ("x.y+=z x.y-=z", "x.y+=z x.y-=z"),
        ("""'{"a": "b c"}'""", r'"{\"a\": \"b c\"}"'),
    ],
)
def test_settings_keep_their_words_apart(text, canonical):
    command = parse(f"!agency gosuto set pm {text}")
    assert command.text("settings") == canonical
    assert parse(format_command(command)) == command
    assert settings_of(canonical) == settings_of(text)


@pytest.mark.parametrize("text", ["a", "=1", "1=2", "a=1 b", '"a b=1"', "[]"])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(CommandError, match="is not NAME=VALUE"):
        parse(f"!agency gosuto set pm {text}")


def test_there_are_at_most_fifty_settings():
    assert parse("!agency gosuto set pm " + "a=1 " * 50)
    with pytest.raises(CommandError, match="more than 50"):
        parse("!agency gosuto set pm " + "a=1 " * 51)


@pytest.mark.parametrize("text", ["abc", "sha256:abc", f"sha256:{'A' * 64}", f"sha256:{'0' * 65}"])
def test_a_digest_has_its_form(text):
    assert parse(f"!agency gosuto set pm --document=sha256:{'0' * 64}")
    with pytest.raises(CommandError, match="is not the digest"):
        parse(f"!agency gosuto set pm --document={text}")
