"""Command `status`: the control plane and its agents at a glance."""

from __future__ import annotations

from collections import Counter

from agency.control.commands.context import Context
from agency.control.commands.noun import Noun
from agency.control.execution.result import Result
from agency.control.execution.tables import table

STATUS = Noun("status")

_MOST_ERRORS = 5
_DAY_MS = 86_400_000


@STATUS.command(
    None,
    summary="Show uptime, agents by state, what waits, and recent failures.",
    permission="status",
)
async def show_status(ctx: Context) -> Result:
    """Show the control plane and its agents at a glance."""
    from agency.control.store import audit

    services = ctx.services
    up_s = services.clock.steady() - services.started_s
    states = Counter(str(seen.state) for _, seen in await services.lifecycle.observe_all())
    since_ms = services.clock.now_ms() - _DAY_MS
    failed = await services.database.read(lambda c: audit.failures(c, since_ms, _MOST_ERRORS))
    warnings = services.conditions.present()
    mode = services.safety().present()
    agents = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none"
    rows = [
        ("up", _duration(up_s)),
        ("agents", agents),
        ("waiting for an approval", str(len(services.decisions().waiting))),
        ("safe mode", "off" if mode is None else f"on, by {mode.by}"),
        ("degraded", ", ".join(sorted({each.code.value for each in warnings})) or "nothing"),
    ]
    failures = [(row.ts, row.action, row.target or "-", row.trace) for row in failed]
    block = table((), rows)
    if failures:
        header = ("FAILED", "ACTION", "TARGET", "TRACE")
        block += f"\n\n{table(header, failures)}"
    else:
        block += "\n\nNothing failed in the last day."
    return Result("The control plane:", block, detail={"agents": dict(states)})


def _duration(seconds: float) -> str:
    """Write a duration with its two largest units: `2 d 3 h`, `41 s`."""
    left, parts = int(seconds), list[str]()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
