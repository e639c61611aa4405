"""Commands `policy can` and `policy why`: what a person may, asked without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import Reason, UserId
from agency.control.grammar.spec import argument

if TYPE_CHECKING:
    from agency.control.execution.explaining import Explanation

POLICY = Noun("policy")

_PERSON = argument("person", UserId(), "a person, by full Matrix id", metavar="matrix-id")
_COMMAND = argument("command", Reason(1000), "a command, without !agency before it")


@POLICY.command(
    "can",
    _PERSON,
    _COMMAND,
    summary="Say whether a person may give a command now.",
    permission="policy.can",
)
async def can(ctx: Context, person: str, command: str) -> Result:
    """Say yes, no, or what it needs, in one word or two."""
    found = _explained(ctx, person, command)
    return Result(found.answer, detail=found.detail)


@POLICY.command(
    "why",
    _PERSON,
    _COMMAND,
    summary="Say by which rule a person may give a command, or may not.",
    permission="policy.why",
)
async def why(ctx: Context, person: str, command: str) -> Result:
    """Say the decision, the roles and the rule behind it."""
    found = _explained(ctx, person, command)
    return Result(found.answer, table((), found.facts), detail=found.detail)


def _explained(ctx: Context, person: str, command: str) -> Explanation:
    from agency.control.execution.explaining import explain

    services = ctx.services
    return explain(services.decisions().policy, services.grammar, person, command)
