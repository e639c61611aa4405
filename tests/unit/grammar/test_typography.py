"""Texts from phones: typography is read as what it stands for, where that is sure."""

from __future__ import annotations

import time

import pytest
from commanding import COMMANDS_OF_ALL_KINDS, FORBIDDEN, STARTS, TEXTS, parsed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency.control.commands import GRAMMAR, parse
from agency.control.grammar.characters import is_hidden
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError, Reason
from agency.control.grammar.printing import format_command
from agency.control.grammar.typography import WHITE, plain

START = "!agency agents start pm "
PAIRS = ["\u201c\u201d", "\u201e\u201c", "\u201e\u201d", "\u201d\u201d", "\u00ab\u00bb"]
PAIRS += ["\u00bb\u00ab", "\u2018\u2019", "\u201a\u2018", "\u201a\u2019", "\u2019\u2019"]
PHONES = st.text(
    st.sampled_from(
        " -='\"\\abp\u00a0\t\n"
        "\u2013\u2014\u2010\u2011\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e"
    ),
    max_size=30,
)
LINES = st.builds(lambda rest: START + rest, PHONES)


def project(text: str) -> str | None:
    return parse(text).text("project")


@pytest.mark.parametrize("dash", ["\u2014", "\u2013", "\u2010\u2010", "\u2011\u2011", "--"])
def test_dash_before_an_option_is_two_hyphens(dash: str) -> None:
    assert project(f"{START}{dash}project alpha") == "alpha"
    assert project(f'{START}{dash}project="new app"') == "new app"
    assert project(f"!agency agents start {dash}project=alpha pm") == "alpha"


@pytest.mark.parametrize("pair", PAIRS)
def test_quotes_in_a_pair_are_straight_ones(pair: str) -> None:
    for option in ("--project ", "--project=", "\u2014project=", "\u2013project "):
        assert project(f"{START}{option}{pair[0]}new app{pair[1]}") == "new app"
    assert format_command(parse(f"{START}--project {pair[0]}new app{pair[1]}")) == (
        f'{START}--project="new app"'
    )


def test_apostrophe_of_a_phone_in_quotes_of_a_phone() -> None:
    assert project(f"{START}--project \u201cbob\u2019s app\u201d") == "bob's app"
    assert project(f"{START}--project \u201cbob's app\u201d") == "bob's app"


@pytest.mark.parametrize(
    "rest",
    [
        "--project a\u2014b",  # one hyphen or two?
        "\u2014 alpha",
        "--project \u2014",
        "--lines=\u20135",
        '--project "a\u2014b"',  # in straight quotes each character stands for itself
        '--project "bob\u2019s app"',
        '--project "x \u201cnew app\u201d y"',
        '--project "x \u2014lines y"',
        "--project \u201cnew app",
        "--project new app\u201d",
        '--project "new app\u201d',
        '--project \u201cnew app"',
        "--project \u201cnew\u2018 app\u201d",
        "--project \u2018bob\u2019s app\u2019",
        '--project \u201ca "b" c\u201d',
        "--project \u201ca\\\u201d",
        "--project \u201cnew app\u201dx",
        "--project x\u201cnew app\u201d",
        "--project \u00ab\u00a0new app\u00a0\u00bb",
        "--project \u2032a\u2032",
        "\u2212\u2212project alpha",
        "\uff0d\uff0dproject alpha",
    ],
)
def test_what_has_two_readings_is_refused(rest: str) -> None:
    with pytest.raises(CommandError) as refused:
        parse(START + rest)
    assert refused.value.reason is Reason.CHARACTER


@pytest.mark.parametrize("before", ["", "\n", "\r\n", " \t\n", "\n\n  "])
@pytest.mark.parametrize("after", ["", "\n", "\r\n", "\n \t"])
def test_white_space_at_the_ends_is_nothing(before: str, after: str) -> None:
    assert (
        format_command(parse(f"{before}!agency agents stop pm{after}")) == "!agency agents stop pm"
    )


@pytest.mark.parametrize(
    "text", ["!agency\nping", "!agency ping\n!agency version", "!agency\tping"]
)
def test_line_break_inside_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="not allowed"):
        parse(text)


@given(
    st.one_of(
        LINES, st.text(st.characters(max_codepoint=127)), COMMANDS_OF_ALL_KINDS.map(format_command)
    )
)
def test_meaning_of_ascii_never_changes(text: str) -> None:
    if text.isascii():
        assert plain(text).strip(" ") == text.strip(WHITE)
        assert len(plain(text)) == len(text)
    else:  # also where the rest of the text is not ASCII: what is in straight quotes is kept
        quoted = f'!agency agents start pm --project="{text}"'
        if '"' not in text and "\\" not in text:
            assert plain(quoted) == quoted


@given(STARTS)
def test_what_parses_without_typography_is_left_alone(command: Command) -> None:
    assert plain(format_command(command)) == format_command(command)
    assert plain(f"\n{format_command(command)}\r\n") == f" {format_command(command)}  "


@given(st.one_of(LINES, PHONES, st.text()))
@example("\u201cit's\u201d \u201ca b\u201d")
@settings(max_examples=1000)
def test_plain_spelling_is_plain(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(COMMANDS_OF_ALL_KINDS, FORBIDDEN.filter(is_hidden), st.integers(0, 400))
def test_text_with_what_cannot_be_seen_is_never_a_command(
    command: Command, hidden: str, place: int
) -> None:
    text = format_command(command)
    text = text[: place % (len(text) + 1)] + hidden + text[place % (len(text) + 1) :]
    outcome = parsed(text)
    assert isinstance(outcome, CommandError) or text.strip(WHITE) == format_command(command)


@given(LINES)
@settings(max_examples=1000)
def test_no_hidden_character_is_taken_away(text: str) -> None:
    outcome = parsed(text)
    if any(is_hidden(each) for each in text.strip(WHITE)):
        assert isinstance(outcome, CommandError)


@given(TEXTS.filter(lambda text: not set(text) & set("\"'\\")))
def test_what_a_phone_makes_of_a_command_is_that_command(value: str) -> None:
    meant = Command(GRAMMAR.by_name["agents start"], {"agent": "pm", "project": value})
    for opening, closing in PAIRS:
        assert parse(f"{START}\u2014project {opening}{value}{closing}\n") == meant


@pytest.mark.parametrize("unit", ["\u201ca ", "\u201ca\u2019b ", "'\u201c ", "\u2014a=\u201c'"])
def test_long_texts_are_read_in_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        begun = time.thread_time()
        plain(unit * count)
        return time.thread_time() - begun

    seconds(100)
    assert (
        min(seconds(20_000) for _ in range(3)) < 40 * min(seconds(2_000) for _ in range(3)) + 0.01
    )
