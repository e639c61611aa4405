"""Commands `backups show` and `create`: the machine's own backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.clock import iso
from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import RefusalError, Result

if TYPE_CHECKING:
    from agency.control.backups.desk import BackupDesk, BackupState

BACKUPS = Noun("backups")

_WAIT_S = 20.0  # a backup of an hour is not waited for
_HOUR_S = 3600
_MIB = 1024 * 1024


@BACKUPS.command(
    "show",
    summary="Say when the last backup of the machine succeeded, and whether one runs.",
    permission="backups.show",
)
async def show(ctx: Context) -> Result:
    """Describe the backup as it is now."""
    desk = ctx.services.backups()
    state = await desk.look()
    return Result(_told(desk, state), detail=_detail(state))


@BACKUPS.command(
    "create",
    summary="Back up now all that is not in git.",
    permission="backups.create",
    changes=True,
)
async def create(ctx: Context) -> Result:
    """Start the backup, and say how it ended if it ends soon."""
    desk = ctx.services.backups()
    await ctx.step(f"the machine backs up; waiting at most {_WAIT_S:.0f} s for the end")
    state = await desk.begin(_WAIT_S)
    if state.failed:
        raise RefusalError(f"the backup failed ({state.result})", hint=desk.journal())
    if state.runs:
        text = "The backup has begun and goes on; `backups show` says how it ended."
        return Result(text, detail=_detail(state))
    return Result(_told(desk, state), detail=_detail(state))


def _told(desk: BackupDesk, state: BackupState) -> str:
    if state.last is None:
        last = "No backup has succeeded yet."
    else:
        age_s = desk.age_s(state.last)
        late = ", which is late" if age_s > desk.max_age_s else ""
        last = (
            f"The last backup succeeded at {iso(state.last.at)}, {_age(age_s)} ago{late}; "
            f"it read {state.last.size / _MIB:.1f} MiB."
        )
    if state.runs:
        return f"{last} One runs now."
    if state.failed:
        return f"{last} The run after it failed ({state.result}); {desk.journal()}"
    return last


def _age(seconds: int) -> str:
    if seconds < 2 * _HOUR_S:
        return f"{seconds // 60} min"
    return f"{seconds // _HOUR_S} h"


def _detail(state: BackupState) -> dict[str, object]:
    last = state.last
    return {
        "runs": state.runs,
        "result": state.result,
        "last_success": None if last is None else iso(last.at),
        "size": None if last is None else last.size,
    }
