"""Help and reference of commands, made from the data that the parser reads."""

from __future__ import annotations

from collections.abc import Sequence

from agency.control.grammar.errors import advice
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.kinds import Topic, ValueProblemError
from agency.control.grammar.spec import PREFIX, CommandSpec, Parameter, argument
from agency.errors import UsageError


def help_text(grammar: Grammar, topic: str | None) -> str:
    """Return plain text for a fixed-width block: all commands, those of a topic, or one in full.

    Raises:
        UsageError: there is no such topic (a parsed `help` command never has one).
    """
    if topic is None:
        more = f"{PREFIX} help <command> explains one command."
        return f"{_table([(each.usage, each.summary) for each in grammar.commands])}\n\n{more}"
    try:
        specs = grammar.topics[str(argument("topic", Topic(grammar.words), "").read(topic))]
    except ValueProblemError as problem:
        raise UsageError(problem.message, hint=advice(problem.suggestion, problem.hint)) from None
    if len(specs) > 1:
        return _table([(each.usage, each.summary) for each in specs])
    return _in_full(specs[0])


def _in_full(spec: CommandSpec) -> str:
    lines = [spec.usage, f"  {spec.summary}"]
    if spec.parameters:
        rows = [(_label(each), each.summary) for each in spec.parameters]
        lines += ["", _table(rows, indent="  ")]
    if spec.aliases:
        lines += ["", f"  short: {', '.join(spec.aliases)}"]
    return "\n".join(lines)


def _label(parameter: Parameter) -> str:
    return parameter.usage.strip("[]<>")


def _table(rows: Sequence[tuple[str, str]], *, indent: str = "") -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{indent}{left.ljust(width)}  {right}" for left, right in rows)


def reference_markdown(grammar: Grammar) -> str:
    """Render the generated part of the command reference as Markdown, with a final line break."""
    table = ["| command | effect | changes something | short form |", "|---|---|---|---|"]
    for spec in grammar.commands:
        changes = "yes" if spec.changes else "no"
        short = ", ".join(f"`{alias}`" for alias in spec.aliases) or "-"
        table.append(f"| `{spec.usage}` | {spec.summary} | {changes} | {short} |")
    arguments = ["| command | argument | meaning |", "|---|---|---|"]
    for spec in grammar.commands:
        arguments += [
            f"| {spec.name} | `{_label(each)}` | {each.summary}{_bounds(each)} |"
            for each in spec.parameters
        ]
    return "\n".join([*table, "", *arguments]) + "\n"


def _bounds(parameter: Parameter) -> str:
    return f"; {parameter.kind.bound}" if parameter.kind.bound else ""
