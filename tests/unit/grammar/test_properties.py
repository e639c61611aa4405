"""What holds for every text and every command."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
from commanding import COMMANDS_OF_ALL_KINDS, FORBIDDEN, NAMES, STARTS, TEXTS, VISIBLE, parsed
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from agency.control.commands import GRAMMAR, looks_like_command, parse
from agency.control.grammar.characters import is_hidden
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError, Reason
from agency.control.grammar.kinds import Settings, settings_of
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import PREFIXES, Parameter
from agency.control.grammar.typography import plain

# Texts that get past the first word, and are mostly wrong after it.
ALMOST = st.builds(
    lambda first, rest: " ".join([first, *rest]),
    st.sampled_from(GRAMMAR.first_words),
    st.lists(
        st.one_of(
            st.sampled_from(["agents", "start", "stop", "audit", "tail", "help", "trace", "ping"]),
            st.sampled_from(
                ["pm", "--project", "--project=x", "--", "--x", '"', "'", '"a b"', "\\"]
            ),
            st.text(max_size=5),
        ),
        max_size=6,
    ),
)


def words_of(command: Command) -> list[str]:
    """The words of the canonical text, quoted ones whole."""
    parts = [*PREFIXES[:1], *command.name.split(" ")]
    for parameter in command.spec.parameters:
        value = command.argument(parameter.name)
        if value is None:
            continue
        if parameter.kind.rest:
            parts += str(value).split(" ")
        else:
            parts.append(single(str(value)) if parameter.positional else flag(parameter, value))
    return parts


def flag(parameter: Parameter, value: str | int) -> str:
    return f"--{parameter.name}={double(str(value))}"


def ways(word: str) -> st.SearchStrategy[Callable[[str], str]]:
    """The ways to write a word: without quotes too, if it is a word so."""
    bare = word and not word.startswith("--") and not set(word) & set(" \"'")
    return st.sampled_from([double, single, *([str] if bare else [])])


def double(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def single(value: str) -> str:
    return double(value) if "'" in value else f"'{value}'"


@given(COMMANDS_OF_ALL_KINDS)
def test_printing_and_parsing_give_the_same_command(command):
    text = format_command(command)
    again = parse(text)
    assert again == command
    assert hash(again) == hash(command)
    assert format_command(again) == text
    assert looks_like_command(text)
    assert len(text.encode()) <= 4096


@given(st.one_of(st.text(), ALMOST, st.text(st.characters(categories=["C", "Z", "P"]))))
@example("")
@example("!agency")
@example('!agency "')
@example("!agency audit tail " + "9" * 5000)
@settings(max_examples=400)
def test_any_text_is_a_command_or_a_command_error(text):
    outcome = parsed(text)
    if isinstance(outcome, Command):
        assert parse(format_command(outcome)) == outcome
        assert looks_like_command(text)
        return
    assert 0 <= outcome.start <= outcome.end <= len(plain(text))
    assert outcome.text in (plain(text), "")
    assert not any(is_hidden(each) for each in outcome.message + (outcome.hint or ""))
    assert not any(is_hidden(each) for each in outcome.pointer().replace("\n", ""))
    assert len(outcome.message) < 600


@given(st.one_of(st.text(), ALMOST))
def test_looking_at_a_text_never_fails(text):
    assert looks_like_command(text) in (True, False)


@given(COMMANDS_OF_ALL_KINDS, st.data())
def test_spaces_between_words_do_not_count(command, data):
    gaps = st.integers(1, 5).map(lambda count: " " * count)
    text = "".join(data.draw(gaps) + word for word in words_of(command)) + data.draw(gaps)
    assert parse(text) == command


def said(kind, value):
    """The words that a person says for a value; settings are kept with their quotes."""
    if isinstance(kind, Settings):
        return settings_of(value)
    return value.split(" ") if kind.rest else [value]


@given(COMMANDS_OF_ALL_KINDS, st.data())
def test_quoting_a_word_does_not_count(command, data):
    words = [*PREFIXES[:1], *command.name.split(" ")]
    for parameter in command.spec.positionals:
        value = command.argument(parameter.name)
        if value is not None:
            words += said(parameter.kind, str(value))
    words = [words[0], *(data.draw(ways(word))(word) for word in words[1:])]
    for parameter in command.spec.flags:
        value = command.argument(parameter.name)
        if value is not None:
            quote = data.draw(st.sampled_from([double, single]))(str(value))
            words += data.draw(
                st.sampled_from([[f"--{parameter.name}={quote}"], [f"--{parameter.name}", quote]])
            )
    assert parse(" ".join(words)) == command


@given(COMMANDS_OF_ALL_KINDS, st.data())
def test_a_short_form_or_another_prefix_means_the_same(command, data):
    words = words_of(command)
    size = 1 + len(command.name.split(" "))
    firsts = [[prefix, *words[1:size]] for prefix in PREFIXES]
    firsts += [[alias] for alias in command.spec.aliases]
    assert parse(" ".join([*data.draw(st.sampled_from(firsts)), *words[size:]])) == command


@given(STARTS, TEXTS, st.data())
def test_the_place_of_a_flag_does_not_count(command, project, data):
    head = ["!agency", *command.name.split(" ")]
    rest = [str(command.argument("agent"))]
    place = data.draw(st.integers(0, 1))
    rest.insert(place, f"--project={double(project)}")
    assert parse(" ".join(head + rest)).argument("project") == project


@given(COMMANDS_OF_ALL_KINDS, FORBIDDEN, st.data())
def test_a_forbidden_character_anywhere_is_refused(command, character, data):
    text = format_command(command)
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + character + text[place:]
    assume(plain(text) == text)  # not white space at an end, nor a dash before a word
    with pytest.raises(CommandError) as caught:
        parse(text)
    assert caught.value.reason is Reason.CHARACTER
    assert (caught.value.start, caught.value.end) == (place, place + 1)
    assert f"U+{ord(character):04X}" in caught.value.message


@given(COMMANDS_OF_ALL_KINDS, st.text(VISIBLE, min_size=1, max_size=5), st.data())
def test_letters_after_a_command_word_never_give_the_command(command, letters, data):
    assume(not set(letters) & set("\"'"))
    words = format_command(command).split(" ")
    size = 1 + len(command.name.split(" "))
    place = data.draw(st.integers(0, size - 1))
    words[place] += letters
    with pytest.raises(CommandError):
        parse(" ".join(words))


@given(st.sampled_from(GRAMMAR.first_words), st.text(VISIBLE, min_size=1, max_size=5), NAMES)
def test_letters_after_a_first_word_never_give_a_command(word, letters, name):
    assume(not set(letters) & set("\"'"))
    assert looks_like_command(f"{word}{letters} {name}")
    with pytest.raises(CommandError):
        parse(f"{word}{letters} {name}")


PATHOLOGICAL = {
    "spaces": lambda size: "!agency" + " " * (size - 7),
    "words": lambda size: "!agency ping" + " x" * ((size - 12) // 2),
    "topic": lambda size: "!agency help" + " x" * ((size - 12) // 2),
    "flags": lambda size: "!start-agent" + " --x" * ((size - 12) // 4),
    "after two dashes": lambda size: "!start-agent -- " + "x " * ((size - 16) // 2),
    "one word": lambda size: "!agency " + "x" * (size - 8),
    "first word": lambda size: "!" + "x" * (size - 1),
    "name": lambda size: "!start-agent " + "a" * (size - 13),
    "digits": lambda size: "!agency audit tail " + "9" * (size - 19),
    "quotes": lambda size: "!start-agent " + '""' * ((size - 13) // 2),
    "quoted words": lambda size: "!start-agent " + "'' " * ((size - 13) // 3),
    "backslashes": lambda size: '!start-agent "' + "\\" * (size - 14),
    "unclosed": lambda size: "!start-agent '" + "x" * (size - 14),
    "project": lambda size: "!start-agent pm --project=" + "x" * (size - 26),
    "trace": lambda size: "!agency trace " + "x" * (size - 14),
    "zero-width": lambda size: "\u200b" * (size // 3),
    "marks": lambda size: "!start-agent " + ("x" + "\u0301\u0323" * 15) * (size // 65),
    "wide": lambda size: "!start-agent " + "東" * ((size - 13) // 3),
}


class Steps:
    """Counts the lines of Python that run: a measure of work that no clock disturbs."""

    def __init__(self) -> None:
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self.trace

    def of(self, work: Callable[[], object]) -> int:
        before = sys.gettrace()
        self.count = 0
        sys.settrace(self.trace)
        try:
            work()
        finally:
            sys.settrace(before)
        return self.count


def work(text: str) -> None:
    looks_like_command(text)
    outcome = parsed(text)
    if isinstance(outcome, CommandError):
        outcome.pointer()


@pytest.mark.parametrize("make", PATHOLOGICAL.values(), ids=PATHOLOGICAL)
def test_twice_the_text_is_at_most_twice_the_work(make):
    once, twice = (Steps().of(partial(work, make(size))) for size in (2048, 4096))
    assert once > 50
    assert twice <= 2.1 * once + 200


def test_more_than_that_would_be_seen():
    def square(size: int) -> None:
        for _ in range(size):
            for _ in range(size):
                pass

    once, twice = (Steps().of(partial(square, size)) for size in (50, 100))
    assert twice > 2.1 * once + 200


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", PATHOLOGICAL.values(), ids=PATHOLOGICAL)
def test_the_longest_message_that_matrix_carries(make):
    text = make(65536)
    assert 60000 <= len(text.encode()) <= 65536
    work(text)


def test_noise_of_the_longest_size():
    letters = random.Random(7).choices("!agency -\"'\\=\u00e9\u0301x", k=30000)
    work("!agency " + "".join(letters))
