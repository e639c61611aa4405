"""Updater of the generated parts of docs/commands.md, the reference of the room's commands.

`python tools/docgen/room.py docs/commands.md` rewrites the text between the marks; the text outside
them is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from agency.commandline.main import run
from agency.control.commands import GRAMMAR
from agency.control.config import Limits
from agency.control.grammar.help import reference_markdown
from agency.errors import BadInputError
from agency.files import write_atomically

# Each limit in words: name and effect. Every field of Limits is here.
_LIMITS: Mapping[str, tuple[str, str]] = {
    "max_command_age_s": ("age of a command, seconds", "refused with a reply"),
    "max_command_bytes": ("length of a command, bytes of UTF-8", "refused with a reply"),
    "max_transaction_bytes": (
        "one delivery by the homeserver, bytes",
        "answered with HTTP 413; none of it is accepted",
    ),
    "max_inbox": (
        "messages accepted and not yet processed",
        "answered with HTTP 503; the homeserver delivers again",
    ),
    "max_target_queue": (
        "changes that wait for their turn at one agent",
        "refused with a reply",
    ),
    "approval_wait_s": (
        "wait for another person's approval, seconds",
        "the change expires, with a reply",
    ),
    "agent_start_timeout_s": ("wait for an agent to become healthy, seconds", "the start failed"),
    "agent_stop_timeout_s": ("wait for an agent to end, seconds", "it is killed"),
    "reconcile_interval_s": (
        "wait between two looks at all agents, seconds; 0: only at the start",
        "an agent that died stays so until then",
    ),
    "respawn_attempts": (
        "attempts in a row to mend an agent; 0: none",
        "it has failed: a condition, until a command begins anew",
    ),
    "respawn_wait_s": (
        "wait after the first of them, seconds; doubled after each further, to 600",
        "the next attempt waits",
    ),
    "send_attempts": ("attempts to post a reply", "the reply is dropped, and the log says so"),
    "max_outbox": ("replies waiting to be posted", "no command is run until some are posted"),
    "secret_lease_s": (
        "how long an agent may hold a secret, seconds",
        "it forgets it; it is renewed two thirds into it",
    ),
    "secret_check_s": (
        "between two looks at what agents hold, seconds",
        "a change, a restart or a failure is noticed then",
    ),
    "status_card_after_s": (
        "time of a change until it has a status card, seconds",
        "what ends sooner has none",
    ),
    "status_card_edits_per_minute": (
        "edits of one status card in a minute, beside the last",
        "further steps stand in the next edit",
    ),
    "setup_timeout_s": (
        "wait for the homeserver at the control plane's start, seconds",
        "the control plane ends with an error",
    ),
}


def limits_markdown(limits: Limits) -> str:
    """Render the table of limits as Markdown, with a final line break."""
    rows = ["| limit | setting | default | beyond it |", "|---|---|---|---|"]
    for name, (what, beyond) in _LIMITS.items():
        rows.append(f"| {what} | `{name}` | {_number(getattr(limits, name))} | {beyond} |")
    return "\n".join(rows) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def refresh(document: str) -> str:
    """Return `document` with its generated parts replaced.

    Raises:
        BadInputError: a part's marks do not appear exactly once, in order.
    """
    parts = {"commands": reference_markdown(GRAMMAR), "limits": limits_markdown(Limits())}
    for name, text in parts.items():
        begin, end = f"<!-- begin generated: {name} -->\n", f"<!-- end generated: {name} -->\n"
        if document.count(begin) != 1 or document.count(end) != 1:
            raise BadInputError(f"the marks of the generated part {name} are not there once")
        before, _, rest = document.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise BadInputError(f"the generated part {name} ends before it begins")
        document = f"{before}{begin}{text}{end}{after}"
    return document


@click.command()
@click.argument("document", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if it is stale.")
def main(document: Path, check: bool) -> None:
    """Update the generated parts of DOCUMENT."""
    old = document.read_text(encoding="utf-8")
    new = refresh(old)
    if old != new and check:
        raise BadInputError(
            "its generated parts are not current",
            where=str(document),
            hint=f"run: python tools/docgen/room.py {document}",
        )
    if old != new:
        write_atomically(document, new.encode())


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], prog_name="room.py"))
