"""Commands `policy can` and `policy why`: what a person may, asked without doing it."""

from __future__ import annotations

from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import Reason, UserId
from agency.control.grammar.spec import argument

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
    from agency.control.execution.explaining import explain

    services = ctx.services
    policy = services.decisions().policy
    found = explain(policy, services.grammar, person, command)
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
    from agency.control.execution.explaining import explain

    services = ctx.services
    policy = services.decisions().policy
    found = explain(policy, services.grammar, person, command)
    return Result(found.answer, table((), found.facts), detail=found.detail)
