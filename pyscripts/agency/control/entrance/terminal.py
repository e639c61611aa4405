"""Click commands made from the grammar: its nouns, verbs, help and completion in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from agency.control.commands import GRAMMAR
from agency.control.grammar.command import Command
from agency.control.grammar.errors import advice
from agency.control.grammar.kinds import ValueProblemError
from agency.control.grammar.spec import CommandSpec, Parameter
from agency.control.grammar.suggest import closest
from agency.errors import UsageError

Option = Callable[[Any], Any]


def timeout_option(default_s: float, what: str) -> Option:
    """Make the option that says how long somebody waits at a terminal."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, max=600, min_open=True),
        default=default_s,
        show_default=True,
        help=f"Seconds to wait for {what}.",
    )


def attach_option(which: str) -> Option:
    """Make the option that names the document which goes with a command."""
    return click.option(
        "--attach",
        "document_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"A file that the command hands in: {which}.",
    )


def value_option(which: str) -> Option:
    """Make the option by which the value of a secret goes with a command."""
    return click.option(
        "--value-stdin",
        is_flag=True,
        help=f"Read the value of a secret from standard input: {which}.",
    )


class SuggestingGroup(click.Group):
    """Group that names the nearest command where there is none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            near = closest(args[0], self.commands) or GRAMMAR.instead_of_name.get(args[0])
            more = f" Did you mean {near!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{more}")
        return super().resolve_command(ctx, args)


def add_commands(
    root: click.Group, options: Callable[[CommandSpec], Sequence[Option]], say: Callable[..., int]
) -> None:
    """Add a command for each of the grammar, a group for each noun that has verbs.

    `options` gives those of a command beside its own; `say` gets the `Command` and what they say.
    """
    for noun in GRAMMAR.nouns:
        specs = [spec for spec in GRAMMAR.commands if spec.noun == noun]
        if not GRAMMAR.verbs_of(noun):
            root.add_command(_command(specs[0], options(specs[0]), say))
            continue
        verbs = ", ".join(GRAMMAR.verbs_of(noun))
        group = SuggestingGroup(noun, help=f"Commands on {noun}: {verbs}.")
        for spec in specs:
            group.add_command(_command(spec, options(spec), say))
        root.add_command(group)


def _command(
    spec: CommandSpec, options: Sequence[Option], say: Callable[..., int]
) -> click.Command:
    described = [f"{each.usage}: {each.summary}." for each in spec.positionals]
    command = click.Command(
        spec.verb or spec.noun,
        callback=_callback(spec, say),
        params=[_parameter(each) for each in spec.parameters],
        help="\n\n".join([spec.summary, *described]),
        short_help=spec.summary,
    )
    for option in options:
        command = option(command)
    return command


def _parameter(parameter: Parameter) -> click.Parameter:
    def complete(_context: click.Context, _of: click.Parameter, begun: str) -> list[str]:
        return list(parameter.kind.complete(begun))

    name = _inner(parameter.name)
    if not parameter.positional:
        return click.Option(
            [f"--{parameter.name}", name],
            required=parameter.required,
            metavar=parameter.metavar or None,
            help=parameter.summary[:1].upper() + parameter.summary[1:] + ".",
            shell_complete=complete,
        )
    return click.Argument(
        [name],
        required=parameter.required,
        nargs=-1 if parameter.kind.rest or parameter.kind.tail else 1,
        metavar=parameter.usage,
        shell_complete=complete,
    )


def _inner(name: str) -> str:
    """Name an argument so that it never meets an option of the terminal's own."""
    return f"argument_{name}"


def _callback(spec: CommandSpec, say: Callable[..., int]) -> Callable[..., int]:
    def callback(**given: Any) -> int:
        values = {}
        for parameter in spec.parameters:
            value = given.pop(_inner(parameter.name))
            if value in (None, ()):
                continue
            values[parameter.name] = (
                parameter.kind.joined(value) if isinstance(value, tuple) else value
            )
        try:
            command = Command(spec, values)
        except ValueProblemError as problem:
            raise UsageError(
                problem.message, hint=advice(problem.suggestion, problem.hint)
            ) from None
        return say(command, **given)

    return callback
