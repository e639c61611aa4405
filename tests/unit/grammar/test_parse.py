"""What people type, and the command that it is."""

from __future__ import annotations

import pytest

from agency.control.commands import parse


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("!agency help", "help", {}),
        ("!agency help agents", "help", {"topic": "agents"}),
        ("!agency help agents start", "help", {"topic": "agents start"}),
        ('!agency help "agents start"', "help", {"topic": "agents start"}),
        ("!agency help '  agents   start '", "help", {"topic": "agents start"}),
        ("!agency help !start-agent", "help", {"topic": "!start-agent"}),
        ("!agency help stop-agent", "help", {"topic": "stop-agent"}),
        ("!agency ping", "ping", {}),
        ("!agency version", "version", {}),
        ("!agency agents list", "agents list", {}),
        ("!agency agents show pm", "agents show", {"agent": "pm"}),
        ("!agency agents start pm", "agents start", {"agent": "pm"}),
        ("!agency agents stop pm", "agents stop", {"agent": "pm"}),
        ("!agency agents restart pm", "agents restart", {"agent": "pm"}),
        ("!agency agents status", "agents status", {}),
        ("!agency agents status pm", "agents status", {"agent": "pm"}),
        ("!agency agents logs pm", "agents logs", {"agent": "pm", "lines": 20}),
        ("!agency agents logs pm --lines=1", "agents logs", {"agent": "pm", "lines": 1}),
        ("!agency agents logs --lines 100 pm", "agents logs", {"agent": "pm", "lines": 100}),
        ("!agency audit tail", "audit tail", {"count": 10}),
        ("!agency audit tail 1", "audit tail", {"count": 1}),
        ("!agency audit tail 100", "audit tail", {"count": 100}),
        ("!agency audit tail 000000007", "audit tail", {"count": 7}),
        ("!agency trace cmd-0123.a_B", "trace", {"trace": "cmd-0123.a_B"}),
    ],
)
def test_every_command(text, name, arguments):
    command = parse(text)
    assert command.name == name
    assert dict(command.arguments) == arguments


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("!start-agent pm", "!agency agents start pm"),
        ("!stop-agent pm", "!agency agents stop pm"),
        ("!restart-agent pm --project=x", "!agency agents restart pm --project=x"),
        ("!agent-status", "!agency agents status"),
        ("!agent-status pm", "!agency agents status pm"),
        ("!list-agents", "!agency agents list"),
        ("/ruriko ping", "!agency ping"),
        ("//ruriko agents show pm", "!agency agents show pm"),
    ],
)
def test_short_forms_mean_the_same(short, full):
    assert parse(short) == parse(full)


def test_the_first_example_that_was_ever_written_down():
    command = parse('!start-agent pm --project="new-app"')
    assert command.name == "agents start"
    assert command.argument("agent") == "pm"
    assert command.argument("project") == "new-app"


@pytest.mark.parametrize(
    ("typed", "project"),
    [
        ("--project=new-app", "new-app"),
        ("--project new-app", "new-app"),
        ('--project="new app"', "new app"),
        ('--project "new app"', "new app"),
        ("--project='new app'", "new app"),
        ('--project="say \\"hi\\""', 'say "hi"'),
        ('--project="back\\\\slash"', "back\\slash"),
        ("--project='back\\slash \"quote\"'", 'back\\slash "quote"'),
        ("--project=back\\slash", "back\\slash"),
        ('--project="it\'s"', "it's"),
        ('--project=a" b "c', "a b c"),
        ("--project=a=b", "a=b"),
        ("--project=--x", "--x"),
        ('--project "--x"', "--x"),
        ("--project=-", "-"),
        ("--project=XYZ", "XYZ"),
        ("--project -x", "-x"),
        ('--pro"ject"=x', "x"),
        ("--project='東京 café אבג'", "東京 café אבג"),
        ("--project=\U0001f680", "\U0001f680"),
        ("--project=" + "x" * 200, "x" * 200),
    ],
)
def test_quotes_and_flags(typed, project):
    assert parse(f"!start-agent pm {typed}").argument("project") == project
    assert parse(f"!start-agent {typed} pm").argument("project") == project


def test_two_dashes_end_the_flags():
    assert parse("!start-agent --project=x -- pm") == parse("!start-agent pm --project=x")
    assert parse("!agency agents stop -- pm") == parse("!agency agents stop pm")
    assert parse("!agency ping --") == parse("!agency ping")
    assert parse("!start-agent pm --") == parse("!start-agent pm")


def test_surrounding_spaces_do_not_count():
    assert parse("   !agency   ping   ") == parse("!agency ping")


def test_quoted_command_words_are_command_words():
    assert parse("!agency \"agents\" 'list'") == parse("!agency agents list")


def test_effects():
    changing = {"agents start", "agents stop", "agents restart"}
    for text in ("!start-agent pm", "!stop-agent pm", "!restart-agent pm"):
        command = parse(text)
        assert command.changes
        changing.discard(command.name)
    assert not changing
    for text in ("!agency ping", "!list-agents", "!agent-status pm", "!agency audit tail"):
        assert not parse(text).changes


def test_the_limit_on_bytes_is_one_of_utf8():
    text = "!start-agent pm --project="
    room = 100 - len(text)
    assert parse(text + "x" * room, max_bytes=100).argument("project") == "x" * room
    assert parse(text + "é" * (room // 2), max_bytes=100).argument("project") == "é" * (room // 2)
    padded = "!agency ping" + " " * (4096 - 12)
    assert parse(padded).name == "ping"
