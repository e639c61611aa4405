"""A comment is a command only as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.recipes.bridge.words.reading import Stop, Unknown, Wanted, is_bot, read_comment
from agency.recipes.outcome import STAGES


@pytest.mark.parametrize("text", ["!testme", "  !testme\n", "\r\n\r\n!testme \r\n", "!testme\t"])
def test_the_word_alone_asks_for_all_stages(text: str) -> None:
    assert read_comment(text) == Wanted(STAGES)


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("!testme install", ("install",)),
        ("!testme upgrade,install", ("install", "upgrade")),
        ("!testme  install , upgrade,install", ("install", "upgrade")),
    ],
)
def test_some_stages_are_asked_for_in_any_order(text: str, stages: tuple[str, ...]) -> None:
    assert read_comment(text) == Wanted(stages)


def test_stop_is_a_command_alone() -> None:
    assert read_comment("!testme stop") == Stop()
    assert read_comment("!testme stop,install") == Unknown(("stop",))


def test_unknown_stages_are_named_once_each() -> None:
    assert read_comment("!testme instal,custom,instal,Install") == Unknown(("instal", "Install"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!testmexyz",
        "!test me",
        "!TESTME",
        "! testme",
        "please !testme",
        "!testme please do",
        "!testme\nthanks",
        "thanks\n!testme",
        "> !testme",
        "`!testme`",
        "```\n!testme\n```",
        "    !testme",
        "\t!testme",
        "* !testme",
        "\\!testme",
        "!testme,install",
        "!testme install upgrade",
        "!testme install,",
        "!testme !testme",
        "!testme\ninstall",
        "!testme <!-- x -->",
        "@bot !testme",
    ],
)
def test_anything_else_is_talk(text: str) -> None:
    assert read_comment(text) is None


@pytest.mark.parametrize("end", ["", "hello", "!testme x,", "!testme"])
@pytest.mark.parametrize("before", ["\n" * 40, "\r\n" * 2000, " \n" * 2000, "\n" * 1_000_000])
def test_blank_lines_and_long_texts_are_read_at_once(before: str, end: str) -> None:
    """With as many ways to divide them as a power of two, forty lines took for ever."""
    ordered = end == "!testme" and len(before) <= 4000
    assert read_comment(before + end) == (Wanted(STAGES) if ordered else None)


def test_blanks_after_the_word_are_read_at_once() -> None:
    text = "!testme" + " \t" * 2000
    assert read_comment(text) == Wanted(STAGES)
    assert read_comment(text + "!") is None
    assert read_comment(text + "install" + text[7:] + "!") is None


@given(st.text(max_size=60))
def test_only_the_grammar_is_a_command(text: str) -> None:
    found = read_comment(f"!testme{text}")
    words = text.strip()
    if not words:
        assert found == Wanted(STAGES)
    elif found is not None:
        assert text[0] in " \t"
        assert set(words) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-, \t"
        )
        assert " ".join(words.replace(",", " , ").split()).count(" ") % 2 == 0


@given(st.text(min_size=1, max_size=20), st.sampled_from(["", " ", "\n", "> ", "x"]))
def test_nothing_stands_before_it(before: str, between: str) -> None:
    if (before + between).strip():
        assert read_comment(f"{before}{between}!testme") is None


@given(st.lists(st.sampled_from(STAGES), min_size=1, max_size=8))
def test_stages_come_back_in_their_order(stages: list[str]) -> None:
    wanted = tuple(stage for stage in STAGES if stage in stages)
    assert read_comment("!testme " + ", ".join(stages)) == Wanted(wanted)


@pytest.mark.parametrize("name", ["renovate-bot", "x_bot", "dependabot[bot]", "gitea-actions"])
def test_accounts_of_programs_are_known_by_their_names(name: str) -> None:
    assert is_bot(5, name)
    assert is_bot(5, "project_12_bot_0af3")
    assert not is_bot(5, "abbot")
    assert is_bot(-1, "Ghost")
