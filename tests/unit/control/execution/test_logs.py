"""The lines of a log in a reply: shown as they are, whatever they try."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # rich brings it

from agency.control.commands import GRAMMAR, Services
from agency.control.commands.registry import build_handlers
from agency.control.config import AgentEntry, Limits
from agency.control.execution.lifecycle import Lifecycle
from agency.control.execution.logs import MAX_BLOCK_BYTES, MAX_LINE, log_block
from agency.secrets.values import SecretValue

HOSTILE = [
    "```",
    "</code></pre><img src=x onerror=y>",
    "# heading",
    "[click](https://evil.example)",
    "@room **all** of you",
    "\x1b[2J\x1b[31mred",
    "right\u202eleft",
    "a\tb",
    "ends\r",
    "\0",
]


def body(lines: list[str]) -> str:
    return f"The last lines:\n\n{log_block(lines).text}"


def test_hostile_lines_are_code_to_whoever_reads_markdown() -> None:
    for lines in (HOSTILE, *([line] for line in HOSTILE)):
        kinds = [token.type for token in MarkdownIt().parse(body(lines))]
        assert kinds == ["paragraph_open", "inline", "paragraph_close", "code_block"], lines
    plain = MarkdownIt().parse("The last lines:\n\n" + "\n".join(HOSTILE))
    assert "heading_open" in [token.type for token in plain] or "fence" in [t.type for t in plain]


def test_nothing_is_hidden() -> None:
    shown = log_block(HOSTILE).text
    assert "\\u{1b}[2J\\u{1b}[31mred" in shown
    assert "right\\u{202e}left" in shown
    assert "a    b" in shown
    assert len(shown.splitlines()) == len(HOSTILE)
    assert not any(character in shown for character in "\x1b\u202e\0\r\t")


def test_long_lines_are_cut_and_short_ones_are_not() -> None:
    whole, cut = log_block(["x" * MAX_LINE, "y" * (MAX_LINE + 1)]).text.splitlines()
    assert whole == "    " + "x" * MAX_LINE
    assert cut == "    " + "y" * MAX_LINE + " [cut]"


def test_the_newest_lines_are_kept() -> None:
    block = log_block([f"{number} {'x' * 100}" for number in range(1000)])
    assert block.is_cut
    assert block.text.splitlines()[-1].startswith("    999 ")
    assert block.lines == len(block.text.splitlines()) > 50
    assert not log_block(["a", "b"]).is_cut


def test_nothing_gives_nothing() -> None:
    assert log_block([]).lines == 0
    assert log_block([]).text == ""


@given(st.lists(st.text(max_size=700), max_size=60))
def test_it_is_bounded_whatever_it_holds(lines: list[str]) -> None:
    block = log_block(lines)
    assert len(block.text.encode()) <= MAX_BLOCK_BYTES
    assert block.is_cut == (block.lines < len(lines))
    assert all(line.startswith("    ") for line in block.text.split("\n") if block.lines)


class Talkative:
    """A runtime whose agents write whatever they like."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        self.asked.append((name, lines))
        return ("token is acp-token-of-pm", "<b>@room</b>")

    def secrets(self) -> tuple[SecretValue, ...]:
        return (SecretValue("acp-token-of-pm"),)


def real_logs(desk: Any) -> Talkative:
    """Give the worker the real handler, over a runtime that is none."""

    async def nothing() -> dict[str, Any]:
        return {}

    runtime = Talkative()
    entry = AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:x.org", port=20001)
    lifecycle = Lifecycle({"pm": entry}, runtime, None, Limits(), nothing)  # type: ignore[arg-type]
    services = Services(desk.clock, desk.database, lifecycle, GRAMMAR, desk.conditions)
    desk.handlers["agents logs"] = build_handlers(services)["agents logs"]
    return runtime


async def test_an_operator_is_shown_the_log_and_it_is_on_record(desk: Any) -> None:
    runtime = real_logs(desk)
    (reply,) = await desk.say("!agency agents logs pm --lines=5")
    assert reply["org.agency.reply"]["ok"] is True, reply["body"]
    assert reply["body"].endswith("\n\n    token is [***]\n    <b>@room</b>")
    assert "&lt;b&gt;@room&lt;/b&gt;" in reply["formatted_body"]
    assert reply["m.mentions"] == {}
    assert runtime.asked == [("pm", 5)]
    assert await desk.outcomes() == [("@alice:x.org", "agents logs", "done")]
    (detail,) = await desk.details()
    assert (detail["asked"], detail["lines"]) == (5, 2)
    assert "@room" not in str(detail)


async def test_nobody_else_is_shown_any(desk: Any) -> None:
    runtime = real_logs(desk)
    (reply,) = await desk.say("!agency agents logs pm", sender="@eve:x.org")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert "not an operator" in reply["body"]
    assert await desk.say("!agency agents logs pm", sender="@agent-pm:x.org") == []
    assert runtime.asked == []
    outcomes = [outcome for _, _, outcome in await desk.outcomes()]
    assert outcomes == ["refused", "ignored"]


async def test_what_is_asked_wrongly_is_refused(desk: Any) -> None:
    runtime = real_logs(desk)
    for wrong in ("pn", "pm --lines=0", "pm --lines=101", "pm --lines=all", "", "../pm"):
        (reply,) = await desk.say(f"!agency agents logs {wrong}".strip())
        assert reply["org.agency.reply"]["ok"] is False, wrong
    assert runtime.asked == []
    assert {outcome for _, _, outcome in await desk.outcomes()} == {"refused"}


class Leaky(Talkative):
    """A runtime whose agents write the values that they were given."""

    async def log_tail(self, name: str, lines: int) -> tuple[str, ...]:
        await super().log_tail(name, lines)
        return ("my key is canary-value-of-the-vault", "and so on")


async def test_a_secret_of_the_vault_is_not_shown_in_its_agents_log(desk: Any) -> None:
    async def nothing() -> dict[str, Any]:
        return {}

    async def held(agent: str) -> tuple[SecretValue, ...]:
        return (SecretValue("canary-value-of-the-vault"),) if agent == "pm" else ()

    entry = AgentEntry(name="pm", role="pm", matrix_id="@agent-pm:x.org", port=20001)
    lifecycle = Lifecycle({"pm": entry}, Leaky(), None, Limits(), nothing)  # type: ignore[arg-type]
    assert await lifecycle.log_tail("pm", 5) == ("my key is canary-value-of-the-vault", "and so on")
    lifecycle.agent_secrets = held
    assert await lifecycle.log_tail("pm", 5) == ("my key is [***]", "and so on")
