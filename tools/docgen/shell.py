"""Generator of docs/cli.md, the command-line reference, from the commands themselves.

`python tools/docgen/shell.py docs/cli.md` writes it; a test fails if the page is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from agency.cli import cli
from agency.spinup.cli import spinup_smoke

_INTRODUCTION = """# Commands of the shell

Generated from the commands by `python tools/docgen/shell.py docs/cli.md`; do not edit. The
commands of the control room are in [commands.md](commands.md).

Exit status of every command: 0 done, 1 the thing checked is bad, 2 wrong usage, 3 a prerequisite is
missing, 4 internal error, 130 interrupted before there was anything to report, 141 the reader of
the output is gone (`agency ... | head`). Without standard output nothing is done (3). Every command
that answers has `--json`; errors then are JSON on standard error, wrong usage too. Colour
follows `NO_COLOR`, and is left out where there is no terminal.

Completion: `agency completion bash` (or `zsh`, `fish`) prints the script for your shell.
"""


def reference() -> str:
    """Render the whole page as Markdown."""
    parts = [_INTRODUCTION]
    for name, command in (("agency", cli), ("spinup_smoke", spinup_smoke)):
        parts.extend(_sections(name, command, None))
    return "\n".join(parts).rstrip() + "\n"


def _sections(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    context.terminal_width = context.max_content_width = 96
    if not command.hidden:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _sections(child, found, context)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
