"""Inbox, outbox, inventory and pruning in a real SQLite file."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import text

from agency.control.events import EventKind, IncomingEvent
from agency.control.store import agents, inbox, outbox, pruning
from agency.control.store.agents import Desired, InventoryChange
from agency.control.store.inbox import InboxState, StoredEvent
from agency.control.store.outbox import Message, OutboxState
from agency.store.database import Database


def event(number: int, words: str = "!agency ping") -> IncomingEvent:
    return IncomingEvent(
        f"$e{number}", "!r:x", "@a:x", 1000 + number, EventKind.MESSAGE, "m.text", words
    )


def message(txn_id: str, room: str = "!r:x") -> Message:
    return Message(txn_id, room, "@bot:x", {"body": "é\ud800"}, "t-1")


async def take(database: Database, txn: str, *numbers: int, at: int = 5) -> int:
    events = [(event(number), f"t-{number}") for number in numbers]
    return await database.write(lambda c: inbox.add_transaction(c, txn, at, events))


async def pending(database: Database, after: int = 0, most: int = 99) -> list[StoredEvent]:
    return await database.read(
        lambda c: inbox.in_state(c, InboxState.PENDING, after=after, most=most)
    )


async def test_event_is_stored_once_however_often_it_comes(database: Database) -> None:
    assert await take(database, "one", 1, 2, 1) == 2
    assert await take(database, "two", 2, 3) == 1
    assert await database.read(inbox.unfinished) == 3
    assert await database.read(lambda c: inbox.transaction_ts(c, "two")) == 5
    assert await database.read(lambda c: inbox.transaction_ts(c, "three")) is None


async def test_events_come_out_in_order_as_they_went_in(database: Database) -> None:
    said = IncomingEvent(
        "$x", "!r:x", "@a:x", 7, EventKind.MESSAGE, "m.text", "!agency \ud800 é\0", "$old", "$root"
    )
    await database.write(lambda c: inbox.add_transaction(c, "one", 5, [(said, "t-9")]))
    await take(database, "two", 1)
    first, second = await pending(database)
    assert (first.event, first.trace, first.state) == (said, "t-9", InboxState.PENDING)
    assert second.event.event_id == "$e1"
    assert await pending(database, after=first.sequence) == [second]
    assert await pending(database, most=1) == [first]
    await database.write(lambda c: inbox.set_done(c, first.sequence))
    assert await pending(database) == [second]


async def test_text_of_a_finished_event_is_not_kept(database: Database) -> None:
    await take(database, "one", 1)
    (stored,) = await pending(database)
    await database.write(lambda c: inbox.set_done(c, stored.sequence))
    kept = await database.read(lambda c: c.scalar(text("SELECT content FROM inbox")))
    assert "ping" not in str(kept)
    assert await take(database, "two", 1) == 0, "its id is kept, and it does not come again"


def test_transaction_id_depends_on_the_event_and_the_index_only() -> None:
    assert outbox.transaction_id("$a", 0) == outbox.transaction_id("$a", 0)
    ids = {outbox.transaction_id(event_id, index) for event_id in ("$a", "$b") for index in (0, 1)}
    assert len(ids) == 4


async def test_message_is_queued_once_under_its_transaction_id(database: Database) -> None:
    for _ in range(2):
        await database.write(lambda c: outbox.add(c, message("one"), 5))
    assert await database.read(outbox.pending) == 1
    stored = (await database.read(outbox.first_of_each_room))[0]
    assert stored.message == message("one")


async def test_only_the_oldest_message_of_each_room_is_next(database: Database) -> None:
    for txn, room in (("one", "!r:x"), ("two", "!r:x"), ("three", "!s:x")):
        await database.write(partial(outbox.add, message=message(txn, room), now_ts=5))
    waiting = await database.read(outbox.first_of_each_room)
    assert [each.message.txn_id for each in waiting] == ["one", "three"]
    first = waiting[0].sequence
    await database.write(lambda c: outbox.set_waiting(c, first, attempts=1, next_ts=99))
    waiting = await database.read(outbox.first_of_each_room)
    assert [(each.message.txn_id, each.next_ts) for each in waiting] == [("one", 99), ("three", 5)]
    await database.write(lambda c: outbox.set_failed(c, first, attempts=2))
    waiting = await database.read(outbox.first_of_each_room)
    assert [each.message.txn_id for each in waiting] == ["two", "three"]
    await database.write(lambda c: outbox.set_sent(c, waiting[1].sequence, "$sent"))
    counts = await database.read(outbox.counts)
    assert counts == {OutboxState.PENDING: 1, OutboxState.FAILED: 1}


async def records(database: Database) -> dict[str, Any]:
    return {record.name: record for record in await database.read(agents.records)}


async def test_inventory_follows_the_configuration(database: Database) -> None:
    await database.write(lambda c: agents.synchronise(c, {"pm", "dev"}, 1))
    started = InventoryChange("pm", Desired.RUNNING, "new-app", "running", "42")
    await database.write(lambda c: agents.apply(c, started, 2))
    await database.write(lambda c: agents.synchronise(c, {"pm", "dev"}, 3))
    found = await records(database)
    assert (found["pm"].desired, found["pm"].project) == (Desired.RUNNING, "new-app")
    assert found["dev"].desired is Desired.STOPPED
    await database.write(lambda c: agents.synchronise(c, {"dev"}, 4))
    assert (await records(database))["pm"].desired is Desired.STOPPED


async def test_observation_keeps_what_was_wanted(database: Database) -> None:
    await database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    wanted = InventoryChange("pm", Desired.RUNNING, "new-app", "running", "42")
    await database.write(lambda c: agents.apply(c, wanted, 2))
    seen = InventoryChange("pm", None, None, "failed", None)
    await database.write(lambda c: agents.apply(c, seen, 3))
    found = (await records(database))["pm"]
    assert (found.desired, found.project) == (Desired.RUNNING, "new-app")
    assert (found.observed, found.handle) == ("failed", None)
    assert (found.changed_ts, found.observed_ts) == (2, 3)


async def test_pruning_takes_what_is_old_and_dealt_with(database: Database) -> None:
    await take(database, "old", 1, 2, at=10)
    await take(database, "new", 3, at=20)
    for sequence in (1, 3):
        await database.write(partial(inbox.set_done, sequence=sequence))
    for txn, at in (("one", 10), ("two", 10), ("three", 20)):
        await database.write(partial(outbox.add, message=message(txn), now_ts=at))
    for sequence in (1, 3):
        await database.write(partial(outbox.set_sent, sequence=sequence, event_id="$s"))
    pruned = await database.write(lambda c: pruning.prune(c, 20))
    assert (pruned.inbox, pruned.outbox, pruned.transactions) == (1, 1, 1)
    left = await database.read(lambda c: c.scalars(text("SELECT event_id FROM inbox")).all())
    assert left == ["$e2", "$e3"], "an event that is not done stays, however old"


def test_ids_are_kept_a_week_or_as_long_as_a_command_may_be_old() -> None:
    assert pruning.keep_ms(600) == 7 * 24 * 3600 * 1000
    assert pruning.keep_ms(30 * 24 * 3600) == 60 * 24 * 3600 * 1000
