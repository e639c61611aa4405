"""Every way in which a text is not a command: the place, the reason, the words, the suggestion."""

from __future__ import annotations

import pytest

from agency.control.commands import GRAMMAR, parse
from agency.control.grammar.errors import CommandError, Reason
from agency.errors import ExitCode

START = "usage: !agency agents start <agent> [--project TEXT]"
ALL = "say !agency help for all commands"
NOUNS = ", ".join(GRAMMAR.nouns)
VERBS = ", ".join(GRAMMAR.verbs_of("agents"))
AUDIT_VERBS = ", ".join(GRAMMAR.verbs_of("audit"))
VALUE = f"write --project=VALUE, and put quotes around a value with spaces; {START}"
QUOTES = "put quotes around a value with spaces"


def meant(word: str, hint: str) -> str:
    return f'did you mean "{word}"?; {hint}'


# (text, with « and » around what is pointed at), reason, message, suggestion, hint
CASES = [
    # the first word
    (
        "«!start-agentx» pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "!start-agentx"',
        "!start-agent",
        meant("!start-agent", ALL),
    ),
    (
        "  «!agencyy» ping",
        Reason.UNKNOWN_COMMAND,
        'unknown command "!agencyy"',
        "!agency",
        meant("!agency", ALL),
    ),
    (
        "«!AGENCY» ping",
        Reason.UNKNOWN_COMMAND,
        'unknown command "!AGENCY"',
        "!agency",
        meant("!agency", ALL),
    ),
    (
        "«!agent-start» pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "!agent-start"',
        "!start-agent",
        meant("!start-agent", ALL),
    ),
    (
        "«\uff01agency» ping",
        Reason.UNKNOWN_COMMAND,
        'unknown command "\uff01agency"',
        "!agency",
        meant("!agency", ALL),
    ),
    ("«hello» there", Reason.UNKNOWN_COMMAND, 'unknown command "hello"', None, ALL),
    (
        '«"!agency"» ping',
        Reason.UNKNOWN_COMMAND,
        'unknown command "!agency"',
        "!agency",
        meant("!agency", ALL),
    ),
    (
        "«!agency''» ping",
        Reason.UNKNOWN_COMMAND,
        'unknown command "!agency"',
        "!agency",
        meant("!agency", ALL),
    ),
    # noun and verb
    (
        "!agency«» ",
        Reason.MISSING_COMMAND,
        'a word is missing after "!agency"',
        None,
        f"go on with one of: {NOUNS}",
    ),
    (
        "!agency agents«»",
        Reason.MISSING_COMMAND,
        'a word is missing after "agents"',
        None,
        f"go on with one of: {VERBS}",
    ),
    (
        "!agency «agent» list",
        Reason.UNKNOWN_COMMAND,
        'unknown command "agent"',
        "agents",
        meant("agents", f"the commands are: {NOUNS}"),
    ),
    (
        "!agency «start» pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "start"',
        "agents start",
        meant("agents start", f"the commands are: {NOUNS}"),
    ),
    (
        "!agency «start-agent» pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "start-agent"',
        "agents start",
        meant("agents start", f"the commands are: {NOUNS}"),
    ),
    (
        "!agency «quxquux»",
        Reason.UNKNOWN_COMMAND,
        'unknown command "quxquux"',
        None,
        f"the commands are: {NOUNS}",
    ),
    (
        "!agency agents «strat» pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "strat"',
        "start",
        meant("start", f"after agents comes one of: {VERBS}"),
    ),
    (
        "!agency audit «head»",
        Reason.UNKNOWN_COMMAND,
        'unknown command "head"',
        None,
        f"after audit comes one of: {AUDIT_VERBS}",
    ),
    (
        "!agency «--project=x» agents start pm",
        Reason.UNKNOWN_COMMAND,
        'unknown command "--project=x"',
        None,
        f"the commands are: {NOUNS}",
    ),
    # quotes
    (
        '!start-agent «"»pm',
        Reason.UNCLOSED_QUOTE,
        'the quote " is not closed',
        None,
        'add a " where the quoted part ends',
    ),
    (
        "!start-agent pm --project=«'»new app",
        Reason.UNCLOSED_QUOTE,
        "the quote ' is not closed",
        None,
        "add a ' where the quoted part ends",
    ),
    (
        '!start-agent «"»pm\\"',
        Reason.UNCLOSED_QUOTE,
        'the quote " is not closed',
        None,
        'add a " where the quoted part ends',
    ),
    (
        '!start-agent «"»pm\\',
        Reason.UNCLOSED_QUOTE,
        'the quote " is not closed',
        None,
        'add a " where the quoted part ends',
    ),
    (
        '!start-agent pm --project="a«\\n»b"',
        Reason.UNKNOWN_ESCAPE,
        'in double quotes, a backslash stands before " or \\, not before "n"',
        None,
        "write \\\\ for a backslash, or use single quotes",
    ),
    # flags
    (
        "!start-agent pm «--projekt»=x",
        Reason.UNKNOWN_FLAG,
        'agents start has no flag "--projekt"',
        "--project",
        meant("--project", START),
    ),
    (
        "!start-agent pm «--»=x",
        Reason.UNKNOWN_FLAG,
        'agents start has no flag "--"',
        None,
        START,
    ),
    (
        "!stop-agent «--project» x pm",
        Reason.UNKNOWN_FLAG,
        'agents stop has no flag "--project"',
        None,
        "usage: !agency agents stop <agent>",
    ),
    (
        "!start-agent pm --project=a «--project»=b",
        Reason.REPEATED_FLAG,
        "--project is given twice",
        None,
        START,
    ),
    (
        "!start-agent --project a pm «--project» b",
        Reason.REPEATED_FLAG,
        "--project is given twice",
        None,
        START,
    ),
    (
        "!start-agent pm «--project»",
        Reason.MISSING_VALUE,
        "--project needs a value",
        None,
        VALUE,
    ),
    (
        "!start-agent pm «--project» --force",
        Reason.MISSING_VALUE,
        "--project needs a value",
        None,
        VALUE,
    ),
    (
        "!start-agent «--project» -- pm",
        Reason.MISSING_VALUE,
        "--project needs a value",
        None,
        VALUE,
    ),
    # words
    (
        "!start-agent pm «new» app",
        Reason.TOO_MANY_WORDS,
        '"new" is one word too many',
        None,
        f"{QUOTES}; {START}",
    ),
    (
        "!agency ping «pong»",
        Reason.TOO_MANY_WORDS,
        '"pong" is one word too many',
        None,
        "usage: !agency ping",
    ),
    (
        "!stop-agent pm «developer»",
        Reason.TOO_MANY_WORDS,
        '"developer" is one word too many',
        None,
        "usage: !agency agents stop <agent>",
    ),
    (
        "!start-agent pm -- «--project=x»",
        Reason.TOO_MANY_WORDS,
        '"--project=x" is one word too many',
        None,
        f"{QUOTES}; {START}",
    ),
    (
        '!start-agent pm «"--project"» x',
        Reason.TOO_MANY_WORDS,
        '"--project" is one word too many',
        None,
        f"{QUOTES}; {START}",
    ),
    ("!start-agent«»  ", Reason.MISSING_ARGUMENT, "<agent> is missing", None, START),
    (
        "  !start-agent --project=x«» ",
        Reason.MISSING_ARGUMENT,
        "<agent> is missing",
        None,
        START,
    ),
    (
        "!agency trace«»",
        Reason.MISSING_ARGUMENT,
        "<trace-id> is missing",
        None,
        "usage: !agency trace <trace-id>",
    ),
]


@pytest.mark.parametrize(("marked", "reason", "message", "suggestion", "hint"), CASES)
def test_refusal(marked, reason, message, suggestion, hint):
    start = marked.index("«")
    end = marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(CommandError) as caught:
        parse(text)
    error = caught.value
    assert error.reason is reason
    assert (error.start, error.end) == (start, end)
    assert error.text == text
    assert error.message == message
    assert error.suggestion == suggestion
    assert error.hint == hint


def test_every_reason_has_a_case():
    elsewhere = {Reason.TOO_LONG, Reason.CHARACTER, Reason.EMPTY, Reason.BAD_VALUE}
    assert {case[1] for case in CASES} | elsewhere == set(Reason)


@pytest.mark.parametrize("text", ["", " ", "     "])
def test_nothing_is_no_command(text):
    with pytest.raises(CommandError) as caught:
        parse(text)
    error = caught.value
    assert (error.reason, error.start, error.end, error.text) == (Reason.EMPTY, 0, 0, "")
    assert error.message == "there is no command"
    assert error.hint == ALL
    assert error.pointer() == ""


@pytest.mark.parametrize(
    ("text", "size", "most"),
    [
        ("!agency ping" + " " * 4085, 4097, 4096),
        ("!agency " + "é" * 2050, 4108, 4096),
        ("!agency " + "\ud800" * 10, 38, 37),
        ("x" * 65536, 65536, 4096),
    ],
)
def test_too_long_a_text_is_not_said_again(text, size, most):
    with pytest.raises(CommandError) as caught:
        parse(text, max_bytes=most)
    error = caught.value
    assert error.reason is Reason.TOO_LONG
    assert error.message == f"the command has {size} bytes, and may have {most}"
    assert error.hint == "shorten it"
    assert (error.text, error.start, error.end, error.pointer()) == ("", 0, 0, "")


def test_an_error_as_json_and_as_exit_status():
    with pytest.raises(CommandError) as caught:
        parse("!agency agents strat pm")
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.as_dict() == {
        "kind": "CommandError",
        "message": 'unknown command "strat"',
        "where": None,
        "hint": meant("start", f"after agents comes one of: {VERBS}"),
        "exit_code": 2,
        "reason": "unknown-command",
        "start": 15,
        "end": 20,
        "suggestion": "start",
    }
