"""Command `status`: the control plane and its agents at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agency.control.commands.context import Context, Services
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table

if TYPE_CHECKING:
    from agency.control.conditions import Condition
    from agency.control.policy import SafeMode
    from agency.control.store.chain import AuditRow

STATUS = Noun("status")

_MOST_ERRORS = 5
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Glance:
    """The control plane at a glance: agents by state, and the newest failures of the last day."""

    up_s: float
    agents: Mapping[str, int]
    waiting: int  # for an approval
    safe_mode: SafeMode | None
    degraded: Sequence[Condition]
    failed: Sequence[AuditRow]


@STATUS.command(
    None,
    summary="Show uptime, agents by state, what waits, and recent failures.",
    permission="status",
)
async def show_status(ctx: Context) -> Result:
    """Show the control plane and its agents at a glance."""
    seen = await glance(ctx.services)
    agents = ", ".join(f"{number} {state}" for state, number in sorted(seen.agents.items()))
    rows = [
        ("up", _duration(seen.up_s)),
        ("agents", agents or "none"),
        ("waiting for an approval", str(seen.waiting)),
        ("safe mode", "off" if seen.safe_mode is None else f"on, by {seen.safe_mode.by}"),
        ("degraded", ", ".join(sorted({each.code.value for each in seen.degraded})) or "nothing"),
    ]
    failures = [(row.ts, row.action, row.target or "-", row.trace) for row in seen.failed]
    block = table((), rows)
    if failures:
        header = ("FAILED", "ACTION", "TARGET", "TRACE")
        block += f"\n\n{table(header, failures)}"
    else:
        block += "\n\nNothing failed in the last day."
    return Result("The control plane:", block, detail={"agents": dict(seen.agents)})


async def glance(services: Services) -> Glance:
    """Look at the control plane and its agents."""
    from agency.control.store import audit

    states = Counter(str(seen.state) for _, seen in await services.lifecycle.observe_all())
    since_ms = services.clock.now_ms() - _DAY_MS
    failed = await services.database.read(lambda c: audit.failures(c, since_ms, _MOST_ERRORS))
    return Glance(
        up_s=services.clock.steady() - services.started_s,
        agents=states,
        waiting=len(services.decisions().waiting),
        safe_mode=services.safety().present(),
        degraded=tuple(services.conditions.present()),
        failed=tuple(failed),
    )


def _duration(seconds: float) -> str:
    """Write a duration with its two largest units: `2 d 3 h`, `41 s`."""
    left, parts = int(seconds), list[str]()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
