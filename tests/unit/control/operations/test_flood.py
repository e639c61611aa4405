"""A flood by people who may not command delays no operator, and fills neither room nor log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import Desk

from agency.control.operation import Origin, OriginKind
from agency.control.operations.strangers import (
    MAX_HELD,
    ROWS_ALL,
    ROWS_EACH,
    Held,
    Thinning,
    Treatment,
    counted,
)
from agency.control.store import inbox, outbox
from agency.control.store.audit import Outcome
from agency.control.store.outbox import Lane, Message

EVE = "@eve:x.org"
FLOOD = 450


def refused(desk: Desk, count: int = FLOOD, sender: str = EVE) -> list[dict[str, Any]]:
    return [desk.event("!agency agents stop pm", sender=sender) for _ in range(count)]


async def order_said(desk: Desk) -> list[str]:
    """The events that were answered, in the order in which their answers may be posted."""
    answered = []
    while waiting := await desk.database.read(outbox.first_of_each_room):
        for message in waiting:
            answered.append(message.message.content["org.agency.reply"]["command"])
            await desk.database.write(lambda c, m=message: outbox.set_sent(c, m.sequence, "$x"))
    return answered


async def test_operator_behind_a_flood_is_answered_before_it(desk: Desk) -> None:
    flood, ping = refused(desk), desk.event("!agency ping")
    await desk.take(*flood, ping)
    await desk.settle()
    assert desk.spoken[0].message.content["org.agency.reply"]["command"] == ping["event_id"]
    assert await order_said(desk) == [ping["event_id"], flood[0]["event_id"]]
    assert await desk.unfinished() == 0


async def test_refusals_that_wait_to_be_posted_let_the_operator_pass(desk: Desk) -> None:
    """As they do when the homeserver was away, or with the backlog of a killed control plane."""
    for number in range(FLOOD):
        content = {"org.agency.reply": {"command": f"$old{number}"}}
        message = Message(
            f"old{number}", "!control:x.org", "@agency:x.org", content, "t", Lane.LAST
        )
        await desk.database.write(lambda c, m=message: outbox.add(c, m, 1))
    desk.max_outbox = 2
    ping, start = desk.event("!agency ping"), desk.event("!agency agents start pm")
    await desk.take(ping, start)
    await desk.settle()
    said = await order_said(desk)
    assert set(said[:2]) == {ping["event_id"], start["event_id"]}
    assert said[2:] == [f"$old{number}" for number in range(FLOOD)]


async def test_each_of_several_is_answered_once_a_minute(desk: Desk) -> None:
    operations = desk.make_operations()
    for minute, answers in ((0, 2), (0, 0), (1, 2)):
        desk.held.seconds += 60 * minute
        before = len(await desk.said())
        await desk.take(*refused(desk, 30), *refused(desk, 3, "@mallory:x.org"))
        await desk.finish(operations)
        assert len(await desk.said()) - before == answers


async def test_mistakes_of_an_operator_are_always_answered(desk: Desk) -> None:
    events = [desk.event(f"!agency agents strat pm{n}") for n in range(40)]
    await desk.take(*events)
    await desk.settle()
    said = [content["org.agency.reply"]["command"] for content in await desk.said()]
    assert sorted(said) == sorted(event["event_id"] for event in events)
    assert len(await desk.outcomes()) == 40


async def test_every_refusal_is_on_record_in_few_rows(desk: Desk) -> None:
    await desk.take(*refused(desk, 300), *refused(desk, 5, "@mallory:x.org"))
    await desk.take(*(desk.event("!agency ping", sender="@agency:x.org") for _ in range(50)))
    await desk.settle()
    details = await desk.details()
    assert sum(detail.get("count", 1) for detail in details) == 355
    assert len(details) == ROWS_EACH + 1 + 5 + ROWS_EACH + 1
    (row,) = [d for d in details if d.get("code") == "not-an-operator" and "count" in d]
    assert row["count"] == 300 - ROWS_EACH
    assert {outcome for _, _, outcome in await desk.outcomes()} == {"refused", "ignored"}


async def test_what_is_counted_is_recorded_within_a_minute_by_itself(desk: Desk) -> None:
    operations = desk.make_operations()
    running = asyncio.create_task(operations.run())
    await desk.take(*refused(desk, 100))

    async def rows(wanted: int) -> None:
        async with asyncio.timeout(10):
            while len(await desk.outcomes()) < wanted:  # noqa: ASYNC110 - the store tells nobody
                await asyncio.sleep(0.005)

    await rows(ROWS_EACH)
    await asyncio.sleep(0.05)
    assert await desk.unfinished() == 100 - ROWS_EACH, "counted, and still in the inbox"
    desk.held.seconds += 60
    desk.intake.wake.set()
    await rows(ROWS_EACH + 1)
    assert await desk.unfinished() == 0
    operations.stop()
    await asyncio.wait_for(running, 10)


async def test_what_was_counted_survives_a_kill(desk: Desk) -> None:
    await desk.take(*refused(desk, 100))
    operations = desk.make_operations()
    while await operations.step():
        pass
    await operations.close()  # killed: what is counted is not on record
    assert await desk.unfinished() == 100 - ROWS_EACH
    ping = desk.event("!agency ping")
    await desk.take(ping)
    before = len(desk.spoken)
    await desk.settle()
    (first, *_) = desk.spoken[before:]
    assert first.message.content["org.agency.reply"]["command"] == ping["event_id"]
    details = await desk.details()
    refusals = [d for d in details if d.get("code") == "not-an-operator"]
    assert sum(detail.get("count", 1) for detail in refusals) == 100


async def test_memory_of_a_flood_is_bounded(desk: Desk) -> None:
    desk.max_inbox = 10_000
    desk.intake = desk.make_intake()
    for _ in range(4):
        await desk.take(*refused(desk, MAX_HELD))
    operations: Any = desk.make_operations()
    most, more = 0, True
    while more:
        more = await operations.step()
        most = max(most, len(operations._strangers._held))
    assert most < MAX_HELD + 100
    waiting = await desk.database.read(inbox.unfinished)
    assert waiting < MAX_HELD + 100


async def test_silent_messages_of_strangers_leave_nothing(desk: Desk) -> None:
    events = [
        desk.event("", sender=EVE, type="m.room.encrypted", room_id="!other:x.org", content={})
        for _ in range(50)
    ]
    await desk.take(*events)
    await desk.settle()
    assert await desk.outcomes() == []
    assert await desk.unfinished() == 0


async def test_store_that_fails_in_the_middle_loses_no_refusal(desk: Desk) -> None:
    from sqlalchemy import text

    await desk.take(*refused(desk, 60))
    trigger = "CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END"
    await desk.database.write(lambda c: c.execute(text(trigger)))
    settling = asyncio.create_task(desk.settle())
    await asyncio.wait([settling], timeout=0.1)
    assert not settling.done()
    assert await desk.unfinished() == 60
    await desk.database.write(lambda c: c.execute(text("DROP TRIGGER broken")))
    await asyncio.wait_for(settling, 10)
    assert sum(detail.get("count", 1) for detail in await desk.details()) == 60
    assert len(await desk.said()) == len(desk.spoken) == 1


def test_thinning_is_bounded_whoever_floods() -> None:
    thinning = Thinning()
    treated = [thinning.treat(f"@e{n}:x.org", 1_000_000, answerable=True) for n in range(5000)]
    assert treated.count(Treatment.ANSWER) == ROWS_ALL
    assert set(treated[ROWS_ALL:]) == {Treatment.COUNT}
    later = 1_000_000 + 60_000
    assert thinning.treat("@e1:x.org", later, answerable=True) is Treatment.ANSWER
    assert thinning.treat("@e1:x.org", later + 59_999, answerable=True) is Treatment.RECORD
    assert thinning.treat("@e1:x.org", later + 60_000, answerable=True) is Treatment.ANSWER
    assert len(thinning._answered) == 1, "old ones are forgotten"


@pytest.mark.parametrize(("senders", "rows"), [(1, 1), (50, 50), (51, 51), (400, 51)])
def test_rows_with_counts_are_bounded(senders: int, rows: int) -> None:
    held = [
        Held(
            n,
            f"t-{n}",
            f"@e{n % senders}:x.org",
            Origin(OriginKind.MATRIX, f"$e{n}", 1),
            Outcome.REFUSED,
            "not-an-operator",
        )
        for n in range(400)
    ]
    made = counted(held)
    assert len(made) == rows
    assert sum(1 + len(each.also) for each in made) == 400
