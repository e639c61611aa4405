"""Commands as values, and the one text of each."""

from __future__ import annotations

import pytest

from agency.control.commands import GRAMMAR, parse
from agency.control.grammar.command import Command
from agency.control.grammar.kinds import ValueProblemError
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import Parameter

START = GRAMMAR.by_name["agents start"]


def test_equal_commands_are_equal_in_every_way():
    one = Command(START, {"agent": "pm", "project": "x"})
    other = Command(START, {"project": "x", "agent": "pm"})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Command(START, {"agent": "pm"})
    assert one != Command(START, {"agent": "pm", "project": "y"})
    assert one != Command(GRAMMAR.by_name["agents restart"], {"agent": "pm", "project": "x"})
    assert hash(one) != hash(Command(START, {"agent": "pm"}))
    assert len({one, other, Command(START, {"agent": "pm"})}) == 2


def test_a_command_does_not_change():
    given = {"agent": "pm"}
    command = Command(START, given)
    given["agent"] = "developer"
    assert command.argument("agent") == "pm"
    with pytest.raises(TypeError):
        command.arguments["agent"] = "developer"
    with pytest.raises(AttributeError):
        command.spec = GRAMMAR.by_name["agents stop"]


def test_arguments_by_name():
    command = Command(START, {"agent": "pm"})
    assert command.argument("project") is None
    assert command.argument("nothing of the kind") is None
    assert command.text("agent") == "pm"
    assert command.text("project") is None
    assert command.number("agent") is None
    tail = Command(GRAMMAR.by_name["audit tail"], {"count": 7})
    assert (tail.argument("count"), tail.number("count"), tail.text("count")) == (7, 7, "7")
    assert Command(GRAMMAR.by_name["audit tail"], {}).number("count") == 10
    assert (command.name, command.changes, command.target) == ("agents start", True, "pm")
    assert (tail.changes, tail.target) == (False, None)
    assert Command(GRAMMAR.by_name["agents status"], {}).target is None


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("agents start", {}, "agents start needs <agent>"),
        ("agents start", {"agent": "pm", "force": "x"}, "agents start has no argument force"),
        ("agents start", {"agent": "PM"}, '"PM" cannot be an agent\'s name'),
        ("agents start", {"agent": ""}, '"" cannot be an agent\'s name'),
        ("agents start", {"agent": "pm", "project": ""}, "project is empty"),
        (
            "agents start",
            {"agent": "pm", "project": "a\nb"},
            "a line break is not allowed: U+000A LINE FEED at column 2",
        ),
        ("audit tail", {"count": 0}, '"0" is not a count from 1 to 100'),
        ("audit tail", {"count": 101}, '"101" is not a count from 1 to 100'),
        ("audit tail", {"count": True}, '"True" is not a count from 1 to 100'),
        (
            "agents logs",
            {"agent": "pm", "lines": 101},
            '"101" is not a number of lines from 1 to 100',
        ),
        ("help", {"topic": "dance"}, 'there is no help on "dance"'),
        ("trace", {}, "trace needs <trace-id>"),
    ],
)
def test_an_invalid_command_cannot_be_made(name, arguments, message):
    with pytest.raises(ValueProblemError) as caught:
        Command(GRAMMAR.by_name[name], arguments)
    assert caught.value.message == str(caught.value) == message


def test_refused_text_comes_with_what_to_do():
    with pytest.raises(ValueProblemError) as caught:
        Command(START, {"agent": "pm", "project": "a\nb"})
    assert caught.value.hint == "send one command a message, on one line"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("//ruriko  ping", "!agency ping"),
        ("!list-agents", "!agency agents list"),
        ("!start-agent --project 'new-app' pm", "!agency agents start pm --project=new-app"),
        ("!start-agent pm --project 'new app'", '!agency agents start pm --project="new app"'),
        ("!start-agent pm --project='a\"b'", '!agency agents start pm --project="a\\"b"'),
        ('!start-agent pm --project="it\'s"', '!agency agents start pm --project="it\'s"'),
        ("!start-agent pm --project='a\\ b'", '!agency agents start pm --project="a\\\\ b"'),
        ("!start-agent pm --project='a\\b'", "!agency agents start pm --project=a\\b"),
        ("!start-agent pm --project=--x", '!agency agents start pm --project="--x"'),
        ("!start-agent pm --project='XYZ'", "!agency agents start pm --project=XYZ"),
        ("!start-agent pm --project=-x", "!agency agents start pm --project=-x"),
        ("!agency audit tail", "!agency audit tail 10"),
        ("!agency agents logs pm", "!agency agents logs pm --lines=20"),
        ("!agency audit tail 007", "!agency audit tail 7"),
        ("!agency help 'agents start'", "!agency help agents start"),
        ("!agency help", "!agency help"),
        ("!agent-status", "!agency agents status"),
    ],
)
def test_the_one_text_of_a_command(text, canonical):
    assert format_command(parse(text)) == canonical
    assert parse(canonical) == parse(text)


def test_the_data_of_commands_is_sound():
    assert len(GRAMMAR.by_name) == len(GRAMMAR.commands)
    aliases = [alias for spec in GRAMMAR.commands for alias in spec.aliases]
    assert len(set(aliases)) == len(aliases)
    for spec in GRAMMAR.commands:
        names = [each.name for each in spec.parameters]
        assert len(set(names)) == len(names)
        assert spec.positionals + spec.flags == spec.parameters
        required = [each.required for each in spec.positionals]
        assert required == sorted(required, reverse=True), "optional words come last"
        for parameter in spec.parameters:
            assert not (parameter.required and parameter.default is not None)


@pytest.mark.parametrize(
    ("required", "positional", "usage"),
    [
        (True, True, "<thing>"),
        (False, True, "[thing]"),
        (True, False, "--thing thing"),
        (False, False, "[--thing thing]"),
    ],
)
def test_usage_of_a_parameter(required, positional, usage):
    parameter = Parameter("thing", "text", "", required=required, positional=positional)
    assert parameter.usage == usage
