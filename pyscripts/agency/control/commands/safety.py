"""Commands `safe-mode on`, `off` and `show`."""

from __future__ import annotations

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result

SAFE_MODE = Noun("safe-mode")


@SAFE_MODE.command(
    "on",
    summary="Change nothing any more, whoever asks, until an admin switches it off.",
    permission="safe-mode.on",
    role="operator",
)
async def switch_on(ctx: Context) -> Result:
    """Switch to read-only; what waits for its turn is refused when that comes."""
    mode = await ctx.services.safety().switch_on(ctx.invocation.sender)
    return Result(
        f"Safe mode is on, since {iso(mode.since_ts / 1000)}, by {mode.by}: nothing is changed. "
        "What has begun goes on, and agents that run keep running."
    )


@SAFE_MODE.command("off", summary="Allow changes again.", permission="safe-mode.off", role="admin")
async def switch_off(ctx: Context) -> Result:
    """Leave safe mode."""
    before = await ctx.services.safety().switch_off()
    if before is None:
        return Result("Safe mode was off before.")
    return Result(f"Safe mode is off; {before.by} had switched it on.")


@SAFE_MODE.command("show", summary="Say whether safe mode is on.", permission="safe-mode.show")
async def show(ctx: Context) -> Result:
    """Say whether anything may be changed."""
    mode = ctx.services.safety().present()
    if mode is None:
        return Result("Safe mode is off.")
    return Result(f"Safe mode is on, since {iso(mode.since_ts / 1000)}, by {mode.by}.")
