"""A command is declared in one place; a declaration that contradicts itself is refused there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency.control.commands import GRAMMAR, Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.grammar.grammar import Grammar
from agency.control.grammar.help import help_text
from agency.control.grammar.kinds import AgentName, Count, Kind, Named, Text, ValueProblemError
from agency.control.grammar.parse import looks_like_command, parse
from agency.control.grammar.printing import format_command
from agency.control.grammar.spec import Parameter, argument, flag
from agency.errors import InternalError


def declare(*arguments: Parameter, **more: Any) -> Callable[[Any], Any]:
    declared: dict[str, Any] = {"summary": "Try it.", "permission": "things.try", **more}
    return Noun("things").command("try", *arguments, **declared)


def grammar_of(noun: Noun) -> Grammar:
    return Grammar(tuple(entry.spec for entry in noun.entries))


async def test_a_command_needs_its_declaration_and_nothing_else() -> None:
    """Parser, printer, help and handler follow from it."""
    things = Noun("things")

    @things.command(
        "move",
        argument("agent", AgentName(), "whose"),
        argument("count", Count(9), "how many", default=2),
        flag("to", Text(most=5), "where", metavar="PLACE"),
        summary="Move things.",
        permission="things.move",
        approval="two-people",
        changes=True,
        target="agent",
        aliases=("!move-things",),
        wish=lambda _command, before, _runs: before,
    )
    async def move(
        ctx: Context,
        agent: str,
        count: int,
        to: str | None = None,
    ) -> Result:
        return Result(f"moved {count} of {agent} to {to}")

    grammar = grammar_of(things)
    assert looks_like_command(grammar, "!moves-thing pm")
    command = parse(grammar, "!move-things pm --to=there")
    assert format_command(command) == "!agency things move pm 2 --to=there"
    assert parse(grammar, format_command(command)) == command
    assert (command.changes, command.target) == (True, "pm")
    assert (command.spec.permission, command.spec.approval) == ("things.move", "two-people")
    assert help_text(grammar, "things").splitlines()[0] == (
        "!agency things move <agent> [count] [--to PLACE]"
    )
    (entry,) = things.entries
    assert entry.handler is move
    result = await entry.handler(None, **command.arguments)
    assert result.text == "moved 2 of pm to there"
    short = await entry.handler(None, **parse(grammar, "!move-things pm 3").arguments)
    assert short.text == "moved 3 of pm to None"


@pytest.mark.parametrize(
    ("changes", "target", "wish", "fits"),
    [
        (True, "agent", True, True),
        (True, "agent", False, False),
        (False, "agent", False, True),
        (False, "agent", True, False),
        (True, None, True, False),
        (True, None, False, True),
    ],
)
def test_change_of_a_target_declares_what_it_wishes(
    changes: bool, target: str | None, wish: bool, fits: bool
) -> None:
    """Otherwise nothing would be on record of it when the control plane is killed."""
    make = (lambda _command, before, _runs: before) if wish else None
    agent = argument("agent", AgentName(), "whose")
    declaring = declare(agent, changes=changes, target=target, wish=make)

    async def handler(ctx: Context, agent: str) -> Result:
        return Result(agent)

    if fits:
        declaring(handler)
        return
    with pytest.raises(InternalError, match="needs a wish"):
        declaring(handler)


class Colour(Kind):
    """A kind that only this test knows."""

    def read(self, text: str, parameter: Named) -> str:
        if text in ("red", "blue"):
            return text
        raise ValueProblemError(f"{text} is no {parameter.name}", suggestion="red")

    def complete(self, begun: str) -> tuple[str, ...]:
        return tuple(each for each in ("red", "blue") if each.startswith(begun))


def test_a_kind_needs_its_class_and_nothing_else() -> None:
    things = Noun("things")

    @things.command(
        "paint", argument("colour", Colour(), "which"), summary="Paint.", permission="things.paint"
    )
    async def paint(ctx: Context, colour: str) -> Result:
        return Result(colour)

    grammar = grammar_of(things)
    assert parse(grammar, "!agency things paint blue").argument("colour") == "blue"
    with pytest.raises(Exception, match="green is no colour"):
        parse(grammar, "!agency things paint green")
    (parameter,) = grammar.by_name["things paint"].parameters
    assert parameter.kind.complete("b") == ("blue",)


async def right(ctx: Context, agent: str, lines: int, project: str | None = None) -> Result: ...


async def other_name(ctx: Context, name: str, lines: int, project: str | None = None) -> Result: ...


async def other_order(
    ctx: Context, lines: int, agent: str, project: str | None = None
) -> Result: ...


async def other_type(
    ctx: Context, agent: str, lines: str, project: str | None = None
) -> Result: ...


async def one_less(ctx: Context, agent: str, lines: int) -> Result: ...


async def one_more(
    ctx: Context, agent: str, lines: int, project: str | None = None, force: bool = False
) -> Result: ...


async def optional_is_required(
    ctx: Context, agent: str, lines: int, project: str | None
) -> Result: ...


async def required_is_optional(
    ctx: Context, agent: str | None, lines: int, project: str | None = None
) -> Result: ...


async def anything(ctx: Context, **arguments: Any) -> Result: ...


async def no_context(agent: str, lines: int, project: str | None = None) -> Result: ...


async def other_result(ctx: Context, agent: str, lines: int, project: str | None = None) -> str: ...


def not_async(ctx: Context, agent: str, lines: int, project: str | None = None) -> Result: ...


ARGUMENTS = (
    argument("agent", AgentName(), "whose"),
    flag("lines", Count(9), "how many", default=3),
    flag("project", Text(), "on what"),
)


def test_the_right_handler_is_taken() -> None:
    assert declare(*ARGUMENTS)(right) is right


@pytest.mark.parametrize(
    "handler",
    [
        other_name,
        other_order,
        other_type,
        one_less,
        one_more,
        optional_is_required,
        required_is_optional,
        anything,
        no_context,
        other_result,
        not_async,
    ],
)
def test_a_handler_that_takes_something_else_is_refused_where_it_is_defined(handler: Any) -> None:
    with pytest.raises(InternalError, match="things try: its handler is not") as caught:
        declare(*ARGUMENTS)(handler)
    assert "(ctx: Context, agent: str, lines: int, project: str | None = None) -> Result" in (
        caught.value.message
    )
    assert handler.__name__ in (caught.value.where or "")


def test_what_each_command_needs() -> None:
    expected = {
        "help": ("help", False, None),
        "ping": ("ping", False, None),
        "version": ("version", False, None),
        "agents list": ("agents.list", False, None),
        "agents show": ("agents.show", False, "agent"),
        "agents start": ("agents.start", True, "agent"),
        "agents stop": ("agents.stop", True, "agent"),
        "agents restart": ("agents.restart", True, "agent"),
        "agents status": ("agents.status", False, "agent"),
        "agents logs": ("agents.logs", False, "agent"),
        "audit tail": ("audit.tail", False, None),
        "trace": ("trace", False, None),
    }
    specs = {name: GRAMMAR.by_name[name] for name in expected}
    assert {
        name: (spec.permission, spec.changes, spec.target) for name, spec in specs.items()
    } == expected
    assert {spec.approval for spec in specs.values()} == {None}


def test_the_order_in_which_commands_are_shown() -> None:
    """A new one comes after these."""
    assert GRAMMAR.nouns[:6] == ("help", "ping", "version", "agents", "audit", "trace")
    verbs = ("list", "show", "start", "stop", "restart", "status", "logs")
    assert GRAMMAR.verbs_of("agents")[:7] == verbs


def test_every_command_has_a_permission_of_its_own() -> None:
    assert len({spec.permission for spec in GRAMMAR.commands}) == len(GRAMMAR.commands)
