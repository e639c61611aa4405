"""Any command by any way is the same command: the canonical text, and with it the digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
from commanding import COMMANDS_OF_ALL_KINDS
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.control.commands import parse
from agency.control.entrance.do import do
from agency.control.entrance.words import completed, text_of_argv
from agency.control.grammar.command import Command
from agency.control.grammar.errors import CommandError
from agency.control.grammar.printing import format_command
from agency.control.grammar.words import split
from agency.control.operation import Origin, OriginKind
from agency.control.operations.admitting.admission import propose


def argv_of(command: Command, together: bool) -> list[str]:
    """Words of a shell for a command: flags as one word or as two, arguments after `--`."""
    words = command.name.split(" ")
    flags, arguments = [], []
    for each in command.spec.parameters:
        value = command.argument(each.name)
        if value is None:
            continue
        if each.positional:
            rest = each.kind.rest
            arguments += [each.value for each in split(str(value))] if rest else [str(value)]
        elif together or str(value).startswith("--"):
            flags.append(f"--{each.name}={value}")
        else:
            flags += [f"--{each.name}", str(value)]
    return [*words, *flags, "--", *arguments]


def in_a_terminal(argv: list[str]) -> Command:
    """The command that `agency do` makes of words."""
    made: list[Command] = []

    def find(group: click.Command, words: list[str]) -> tuple[click.Command, list[str]]:
        while isinstance(group, click.Group) and words:
            group, words = group.commands[words[0]], words[1:]
        return group, words

    command, rest = find(do, argv)
    context = command.make_context(command.name, rest)
    say = command.callback.__closure__  # type: ignore[union-attr]
    assert say is not None
    (index,) = [n for n, cell in enumerate(say) if callable(cell.cell_contents)]
    before = say[index].cell_contents
    say[index].cell_contents = lambda found, **_options: made.append(found) or 0
    try:
        command.invoke(context)
    finally:
        say[index].cell_contents = before
    return made[0]


def digest(command: Command) -> str:
    origin = Origin(OriginKind.HTTP, "same", 1)
    return propose(command, origin, "@a:x", "t-1", 600, 1).digest


@settings(max_examples=300)
@given(COMMANDS_OF_ALL_KINDS, st.booleans())
def test_every_way_gives_the_same_text_and_digest(command: Command, together: bool) -> None:
    argv = argv_of(command, together)
    room = parse(format_command(command), max_bytes=65536)
    by_http = parse(text_of_argv(argv), max_bytes=65536)
    as_text = parse(completed(format_command(command)), max_bytes=65536)
    bare = parse(completed(format_command(command).removeprefix("!agency ")), max_bytes=65536)
    terminal = in_a_terminal(argv)
    texts = {format_command(each) for each in (room, by_http, as_text, bare, terminal)}
    assert texts == {format_command(command)}
    assert {digest(each) for each in (room, by_http, as_text, bare, terminal)} == {digest(command)}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=6))
def test_any_words_are_a_command_or_an_error_and_never_another_command(words: list[str]) -> None:
    """What a word holds never becomes two words, a flag or the end of a quote."""
    try:
        command = parse(text_of_argv(["agents", "start", "pm", f"--project={''.join(words)}"]))
    except CommandError:
        return
    from agency.control.grammar.typography import plain

    assert command.text("agent") == "pm"
    assert command.text("project") == plain("".join(words))


def test_another_command_has_another_digest() -> None:
    stop, start = parse("!agency agents stop pm"), parse("!agency agents start pm")
    assert digest(stop) != digest(start)
    assert replace(stop, arguments={"agent": "qa"}) != stop


def test_the_seeds_bare_words_need_no_prefix() -> None:
    for words in (["approve", "op-123456"], ["deny", "op-123456", "no"]):
        parsed: Any = parse(text_of_argv(words))
        assert parsed.name == f"approvals {words[0]}"
        assert parse(completed(" ".join(words))) == parsed
