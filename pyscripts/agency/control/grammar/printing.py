"""Printer: from a `Command` to its one canonical text, which parses to the same command."""

from __future__ import annotations

from agency.control.grammar.command import Command
from agency.control.grammar.spec import PREFIX, Parameter
from agency.control.grammar.words import quoted as quoted


def format_command(command: Command) -> str:
    """Return the canonical text: `!agency agents start pm --project="new app"`."""
    parts = [PREFIX, command.name]
    for parameter in (*command.spec.positionals, *command.spec.flags):
        value = command.argument(parameter.name)
        if value is not None:
            parts.append(_format(parameter, str(value)))
    return " ".join(parts)


def _format(parameter: Parameter, value: str) -> str:
    if parameter.kind.rest:
        return value  # its words are known words that need no quotes
    word = quoted(value)
    return word if parameter.positional else f"--{parameter.name}={word}"
