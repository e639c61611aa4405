"""Help and the command reference."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agency.control.commands import GRAMMAR, parse
from agency.control.config import Limits
from agency.control.grammar import help as grammar_help
from agency.control.grammar.grammar import Grammar
from agency.errors import BadInputError, UsageError

ROOT = Path(__file__).parents[3]
GENERATOR = ROOT / "tools/docgen/room.py"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(GENERATOR.parent)
    import room as reference

DOCUMENT = ROOT / "docs" / "commands.md"


def help_text(topic: str | None) -> str:
    return grammar_help.help_text(GRAMMAR, topic)


def reference_markdown() -> str:
    return grammar_help.reference_markdown(GRAMMAR)


def test_all_commands_in_an_aligned_table():
    lines = help_text(None).split("\n")
    assert len(lines) == len(GRAMMAR.commands) + 2
    assert lines[-2:] == ["", "!agency help <command> explains one command."]
    for line, spec in zip(lines, GRAMMAR.commands, strict=False):
        assert line.startswith(f"{spec.usage}  ")
        assert line.endswith(f"  {spec.summary}")
    assert (
        len({line.index(spec.summary) for line, spec in zip(lines, GRAMMAR.commands, strict=False)})
        == 1
    )


def test_the_commands_of_a_noun():
    alone = Grammar((GRAMMAR.by_name["audit tail"],))
    assert grammar_help.help_text(alone, "audit") == help_text("audit tail")
    shown = [tuple(re.split(r" {2,}", line)) for line in help_text("agents").splitlines()]
    assert shown[:7] == [
        ("!agency agents list [--page N]", "List every agent and its state."),
        ("!agency agents show <agent>", "Show an agent's configuration and state."),
        ("!agency agents start <agent> [--project TEXT]", "Start an agent."),
        ("!agency agents stop <agent>", "Stop an agent."),
        ("!agency agents restart <agent> [--project TEXT]", "Stop an agent and start it again."),
        ("!agency agents status [agent]", "Ask an agent for its status."),
        ("!agency agents logs <agent> [--lines N]", "Show the end of an agent's log."),
    ]


@pytest.mark.parametrize("topic", ["agents start", "start-agent", "!start-agent"])
def test_one_command_in_full(topic):
    assert help_text(topic) == "\n".join(
        [
            "!agency agents start <agent> [--project TEXT]",
            "  Start an agent.",
            "",
            "  agent           an agent's name, as `agents list` shows it",
            "  --project TEXT  the project to work on",
            "",
            "  short: !start-agent",
        ]
    )


def test_commands_without_arguments_or_short_forms():
    assert help_text("ping") == "!agency ping\n  Check that the control plane answers."
    assert help_text("trace").split("\n")[2:] == [
        "",
        "  trace-id  a trace id from a reply or the audit log",
    ]
    assert help_text("audit tail").split("\n")[3] == (
        "  count  number of entries, 1 to 100; default 10"
    )


def test_an_unknown_topic():
    with pytest.raises(UsageError) as caught:
        help_text("agents strat")
    assert caught.value.message == 'there is no help on "agents strat"'
    assert caught.value.hint == (
        f'did you mean "agents start"?; the topics are: {", ".join(GRAMMAR.nouns)}'
    )


@pytest.mark.parametrize("topic", GRAMMAR.topics)
def test_whatever_can_be_asked_for_has_help(topic):
    asked = parse(f"!agency help {topic}").text("topic")
    assert help_text(asked)


def test_the_reference_says_all_that_the_data_says():
    text = reference_markdown()
    assert text.endswith("|\n")
    assert (
        "| `!agency agents start <agent> [--project TEXT]` | Start an agent. | yes "
        "| `!start-agent` |\n" in text
    )
    assert "| `!agency ping` | Check that the control plane answers. | no | - |\n" in text
    assert (
        "| agents start | `--project TEXT` | the project to work on; at most 200 characters "
        "|\n" in text
    )
    assert "| audit tail | `count` | number of entries, 1 to 100; default 10 |\n" in text
    rows = [line for line in text.split("\n") if line]
    assert len(rows) == 4 + len(GRAMMAR.commands) + sum(
        len(spec.parameters) for spec in GRAMMAR.commands
    )
    assert rows[:2] == [
        "| command | effect | changes something | short form |",
        "|---|---|---|---|",
    ]
    assert "\n\n| command | argument | meaning |\n|---|---|---|\n" in text


def test_the_limits_are_all_there():
    text = reference.limits_markdown(Limits(max_command_age_s=1.5, agent_start_timeout_s=15.0))
    for name in Limits.model_fields:
        assert f" | `{name}` | " in text
    assert len(text.strip().split("\n")) == 2 + len(Limits.model_fields)
    assert "| age of a command, seconds | `max_command_age_s` | 1.5 | refused" in text
    assert "| `agent_start_timeout_s` | 15 |" in text
    assert " | `max_transaction_bytes` | 33554432 | " in text


def test_the_written_reference_is_current():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert reference.refresh(text) == text, "run: make docs"
    assert reference_markdown() in text


def run_reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(GENERATOR), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_a_stale_reference_is_found_and_mended(tmp_path):
    good = DOCUMENT.read_text(encoding="utf-8")
    stale = tmp_path / "commands.md"
    generated = reference_markdown()
    old = generated.replace("!agency ping", "!agency pong")
    assert old != generated
    stale.write_text(good.replace(generated, old), encoding="utf-8")
    checked = run_reference("--check", str(stale))
    assert checked.returncode == 1
    assert "not current" in checked.stderr
    assert "pong" in stale.read_text(encoding="utf-8")
    assert run_reference(str(stale)).returncode == 0
    assert stale.read_text(encoding="utf-8") == good
    assert run_reference("--check", str(stale)).returncode == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("<!-- begin generated: limits -->\n", ""),
        lambda text: text.replace("<!-- end generated: commands -->\n", ""),
        lambda text: text + "<!-- begin generated: limits -->\n",
        lambda text: (
            text.replace("begin generated: limits", "x generated: limits")
            .replace("end generated: limits", "begin generated: limits")
            .replace("x generated: limits", "end generated: limits")
        ),
    ],
)
def test_broken_marks_are_refused(spoil):
    with pytest.raises(BadInputError, match="generated part"):
        reference.refresh(spoil(DOCUMENT.read_text(encoding="utf-8")))
