"""The wall clock jumps: nothing runs, or may be approved, for longer than it should."""

from __future__ import annotations

from typing import Any

import pytest
from desk import ALICE, BOB, Desk, strict

from agency.control.execution.result import RefusalError
from agency.control.operations import Operation, Operations, State
from agency.control.store import audit, outbox
from agency.control.store import operations as stored

HOUR = 3600.0


async def waiting(desk: Desk, operations: Operations) -> Operation:
    await desk.take(desk.event("!start-agent pm"))
    await desk.finish(operations)
    (found,) = await desk.database.read(stored.waiting)
    return found


@pytest.mark.parametrize(
    ("jump_s", "code"),
    [(2 * HOUR, "not-approved"), (-HOUR, "clock-put-back"), (-400.0, "clock-put-back")],
)
@pytest.mark.parametrize("restart", [False, True])
async def test_what_waits_for_an_approval_expires(
    desk: Desk, held: Any, jump_s: float, code: str, restart: bool
) -> None:
    operations = strict(desk)
    operation = await waiting(desk, operations)
    held.seconds += jump_s
    if restart:
        operations = strict(desk)
        await desk.finish(operations)
    with pytest.raises(RefusalError, match="waits for an approval"):
        await operations.grant(operation.id, BOB)
    await desk.finish(operations)
    assert desk.calls == []
    assert (await desk.details())[-1]["code"] == code
    assert (await desk.outcomes())[-1][2] == "expired"
    assert await desk.states() == {}


async def test_clocks_that_differ_a_little_change_nothing(desk: Desk, held: Any) -> None:
    operations = strict(desk)
    operation = await waiting(desk, operations)
    held.seconds -= 200
    await operations.grant(operation.id, BOB)
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]


@pytest.mark.parametrize(
    ("jump_s", "code"), [(HOUR, "too-old"), (-HOUR, "clock-put-back"), (-60.0, None)]
)
async def test_a_change_that_was_queued_before_the_jump(
    desk: Desk, held: Any, jump_s: float, code: str | None
) -> None:
    """It was admitted by a run that was killed; the clock jumped before the next one."""
    operations = strict(desk)
    operation = await waiting(desk, operations)
    await operations.grant(operation.id, BOB)  # queued; the process ends before its turn
    operations.stop()
    await operations.close()
    held.seconds += 4000 if code == "too-old" else jump_s
    again = strict(desk)
    await desk.finish(again)
    if code is None:
        assert desk.calls == [f"agents start by {ALICE}"]
    else:
        assert desk.calls == []
        assert (await desk.details())[-1]["code"] == code


@pytest.mark.parametrize(("jump_s", "code"), [(-HOUR, "in-future"), (HOUR, "too-old")])
async def test_a_message_from_before_the_jump_is_refused(
    desk: Desk, held: Any, jump_s: float, code: str
) -> None:
    event = desk.event("!agency agents start pm")
    held.seconds += jump_s
    operations = desk.make_operations()
    await desk.take(event)
    await desk.finish(operations)
    assert desk.calls == []
    assert (await desk.details())[-1]["code"] == code
    await desk.take(desk.event("!agency agents start pm"))  # the positive control: a new one runs
    await desk.finish(operations)
    assert desk.calls == [f"agents start by {ALICE}"]


@pytest.mark.parametrize("jump_s", [-24 * HOUR, 24 * HOUR])
async def test_the_audit_log_stays_whole(desk: Desk, held: Any, jump_s: float) -> None:
    operations = desk.make_operations()
    for _ in range(2):
        await desk.take(desk.event("!agency ping"))
        await desk.finish(operations)
        held.seconds += jump_s
    rows = await desk.database.read(lambda c: audit.tail(c, 100))
    report = audit.verify_chain(rows, instance="test")
    assert report.ok, report
    assert len(rows) == 3
    assert (rows[-1].ts > rows[-2].ts) is (jump_s > 0)
    assert await desk.database.read(outbox.pending) == 2
    assert State.EXPIRED not in await desk.states()
