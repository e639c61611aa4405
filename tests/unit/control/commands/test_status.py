"""`status`: uptime, agents by state, what waits, and what failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from desk import Desk

from agency.control.commands import GRAMMAR, Context, Services, handler, parse
from agency.control.commands.status import _duration
from agency.control.conditions import Code
from agency.control.execution.result import Invocation, Result
from agency.control.policy import SafeMode
from agency.control.runtimes.base import RuntimeStatus, State
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome

STATES = (State.RUNNING, State.RUNNING, State.FAILED)


async def status(desk: Desk, *, mode: SafeMode | None = None, waiting: int = 0) -> Result:
    async def observe_all() -> list[tuple[Any, RuntimeStatus]]:
        return [(None, RuntimeStatus(f"a{n}", state)) for n, state in enumerate(STATES)]

    services = Services(
        desk.clock,
        desk.database,
        SimpleNamespace(observe_all=observe_all),  # type: ignore[arg-type]
        GRAMMAR,
        desk.conditions,
        decisions=lambda: SimpleNamespace(waiting=(None,) * waiting),  # type: ignore[arg-type, return-value]
        safety=lambda: SimpleNamespace(present=lambda: mode),  # type: ignore[arg-type, return-value]
        started_s=desk.clock.steady() - 7260,
    )
    command = parse("!agency status")
    return await handler(command)(Context(services, Invocation(command, "@v:x", "t-1", 1)))


async def fail(desk: Desk, outcome: Outcome, trace: str) -> None:
    entry = AuditEntry(trace, "@alice:x.org", "agents start", "pm", outcome, "{}")
    await desk.database.write(lambda c: audit.append(c, desk.clock, entry))


async def test_all_is_well(desk: Desk) -> None:
    said = (await status(desk)).block
    assert "2 h 1 min" in said
    assert "1 failed, 2 running" in said
    assert "nothing" in said.splitlines()[4]
    assert said.endswith("Nothing failed in the last day.")


async def test_what_waits_is_degraded_or_held_back(desk: Desk) -> None:
    desk.conditions.note(Code.ALIAS_LOST, "the alias is lost")
    said = (await status(desk, mode=SafeMode("@bob:x.org", 1), waiting=3)).block
    assert "waiting for an approval  3" in said
    assert "on, by @bob:x.org" in said
    assert "alias-lost" in said


async def test_failures_of_the_last_day_the_newest_first(desk: Desk) -> None:
    await fail(desk, Outcome.FAILED, "t-old")
    desk.held.seconds += 86_401
    for number in range(7):
        await fail(desk, Outcome.INTERRUPTED if number == 6 else Outcome.FAILED, f"t-{number}")
    await fail(desk, Outcome.REFUSED, "t-refused")
    await fail(desk, Outcome.DONE, "t-done")
    said = (await status(desk)).block
    traces = [line.split()[-1] for line in said.splitlines() if "agents start" in line]
    assert traces == ["t-6", "t-5", "t-4", "t-3", "t-2"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
