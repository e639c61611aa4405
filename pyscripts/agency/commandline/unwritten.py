"""Commands that units call already and whose programs are not written yet.

Such a command takes its arguments, says so, and ends with exit status 3: a host that turns the
feature on sees a failed unit with the reason, rather than a feature that does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from agency.errors import PrerequisiteError


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A command to come: its words below its group, the option that turns it on, its arguments."""

    words: tuple[str, ...]
    option: str
    help: str
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def add_unwritten(group: click.Group, commands: Sequence[Unwritten]) -> None:
    """Add commands to a group, with the groups between them and it."""
    for entry in commands:
        parent = group
        for word in entry.words[:-1]:
            found = parent.commands.get(word)
            if not isinstance(found, click.Group):
                found = click.Group(word, help=f"The feature {entry.option}.")
                parent.add_command(found)
            parent = found
        parent.add_command(_command(group, entry))


def _command(group: click.Group, entry: Unwritten) -> click.Command:
    def run(**_given: str) -> None:
        command = " ".join(("agency", group.name or "", *entry.words))
        raise PrerequisiteError(
            f"the program behind `{command}` is not part of this version",
            where=entry.option,
            hint="leave this option off",
        )

    parameters: list[click.Parameter] = [click.Argument([name]) for name in entry.arguments]
    parameters += [click.Option([flag], metavar="VALUE") for flag in entry.flags]
    return click.Command(entry.words[-1], callback=run, params=parameters, help=entry.help)
