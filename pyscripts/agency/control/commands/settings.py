"""Commands `config get` and `set`: settings of the running control plane."""

from __future__ import annotations

from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table
from agency.control.grammar.kinds import Text
from agency.control.grammar.spec import argument

CONFIG = Noun("config")

_WIDTH = 60


@CONFIG.command(
    "get",
    argument("key", Text(64), "a setting's name; all if left out", required=False),
    summary="Show settings, and where each stands.",
    permission="config.get",
)
async def get_config(ctx: Context, key: str | None = None) -> Result:
    """Show one setting or all of them."""
    settings = ctx.services.settings()
    if key is not None:
        found = settings.find(key)
        return Result(f"{found.key} is {found.value}. It stands in {found.place}.")
    rows = [
        (each.key, each.value if len(each.value) <= _WIDTH else f"{each.value[:_WIDTH]}...",
         each.place)
        for each in settings.shown()
    ]  # fmt: skip
    return Result("The settings:", table(("SETTING", "VALUE", "PLACE"), rows))


@CONFIG.command(
    "set",
    argument("key", Text(64), "a setting that is kept in the store"),
    argument("value", Text(200), "its new value"),
    summary="Change a setting that is kept in the store, at once.",
    permission="config.set",
    changes=True,
    role="admin",
)
async def set_config(ctx: Context, key: str, value: str) -> Result:
    """Change one setting; of any other, say where it stands."""
    before, now = await ctx.services.settings().set(key, value)
    return Result(
        f"{key} is {now}, and was {before}.", detail={"key": key, "before": before, "now": now}
    )
