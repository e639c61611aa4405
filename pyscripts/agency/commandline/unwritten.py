"""Commands that units call already and whose programs are not written yet.

Such a command accepts its arguments, says that it is not written, and exits with status 3: a host
that turns the feature on sees a failed unit with the reason, not a feature that does nothing.
"""

from __future__ import annotations

import click

from agency.errors import PrerequisiteError
from agency.unwritten import UNWRITTEN, Unwritten


def add_unwritten(group: click.Group) -> None:
    """Add the unwritten commands, and the groups they need, to a group of `agency`."""
    for entry in UNWRITTEN:
        if entry.words[0] != group.name:
            continue
        parent = group
        for word in entry.words[1:-1]:
            found = parent.commands.get(word)
            if not isinstance(found, click.Group):
                found = click.Group(word, help=f"The feature {entry.feature}.")
                parent.add_command(found)
            parent = found
        parent.add_command(_command(entry))


def _command(entry: Unwritten) -> click.Command:
    command = " ".join(("agency", *entry.words))

    def run(**_given: str) -> None:
        raise PrerequisiteError(
            f"the program behind `{command}` is not part of this version",
            where=entry.option,
            hint="leave this option off; `preview` of the instance sets it up without its program",
        )

    parameters: list[click.Parameter] = [click.Argument([name]) for name in entry.arguments]
    parameters += [click.Option([flag], metavar="VALUE") for flag in entry.flags]
    return click.Command(entry.words[-1], callback=run, params=parameters, help=entry.help)
