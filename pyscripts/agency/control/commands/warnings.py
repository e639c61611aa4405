"""Commands `warnings list` and `warnings acknowledge`."""

from __future__ import annotations

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import Text
from agency.control.grammar.spec import argument

WARNINGS = Noun("warnings")

_LONGEST_CODE = 40


@WARNINGS.command("list", summary="Show what is degraded.", permission="warnings.list")
async def list_warnings(ctx: Context) -> Result:
    """Show the present conditions, those that block first."""
    present = ctx.services.conditions.present()
    if not present:
        return Result("Nothing is degraded.")
    rows = [
        (each.code.value, iso(each.since_ms / 1000), _state(each.blocks, each.acknowledged))
        for each in present
    ]
    said = "\n".join(f"{each.code}: {each.text}. {each.hint}".rstrip() for each in present)
    return Result("Degraded:", f"{table(('CODE', 'SINCE', 'STATE'), rows)}\n\n{said}")


def _state(blocks: bool, acknowledged: bool) -> str:
    if blocks:
        return "blocks commands"
    return "acknowledged" if acknowledged else "warning"


@WARNINGS.command(
    "acknowledge",
    argument("code", Text(_LONGEST_CODE), "a warning's code, from `warnings list`"),
    summary="Hide a kind of warning until it goes away and comes back.",
    permission="warnings.acknowledge",
    role="operator",
)
async def acknowledge(ctx: Context, code: str) -> Result:
    """Hide the present warnings of a kind from readiness and status."""
    conditions = ctx.services.conditions
    shown = sorted({each.code for each in conditions.present() if not each.blocks})
    wanted = next((each for each in shown if each.value == code), None)
    if wanted is None:
        raise RefusalError(
            f"there is no warning {code!r} to acknowledge",
            hint=f"there are: {', '.join(shown)}" if shown else "nothing is degraded",
        )
    number = conditions.acknowledge(wanted)
    if not number:
        return Result(f"{code} was acknowledged before.")
    return Result(f"{code} is acknowledged: {number} hidden until it comes back.")
