"""The sender over a real outbox, with a homeserver that answers as a test says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest

from agency.clock import Clock
from agency.control.execution.replies import notice_message
from agency.control.matrix.sending import Sender
from agency.control.store import audit, outbox
from agency.control.store.outbox import Message, OutboxState, StoredMessage
from agency.matrix import Backoff, MatrixError
from agency.store.database import Database


@dataclass
class ScriptedApi:
    """Gives one scripted answer after the other, then takes everything."""

    script: list[MatrixError] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    contents: list[Any] = field(default_factory=list)
    posted: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)  # the relation of each, by its id

    async def request(self, method: Any, path: Any, body: Any = None, **_: Any) -> dict[str, Any]:
        parts = [unquote(part) for part in str(path).split("/")]
        if parts[-2] == "event":
            if parts[-1] not in self.events:
                raise failure(404)
            if isinstance(self.events[parts[-1]], MatrixError):
                raise self.events.pop(parts[-1])
            return {"content": {"m.relates_to": self.events[parts[-1]]}}
        if "relations" in parts or parts[-1] == "messages":
            return {
                "chunk": [
                    {"event_id": event_id, "sender": "@bot:x", "content": content}
                    for event_id, content in self.posted.items()
                ]
            }
        if self.script:
            raise self.script.pop(0)
        self.sent.append((parts[5], parts[-1]))
        self.contents.append(body)
        return {"event_id": f"${parts[-1]}"}


def failure(status: int | None, after_s: float | None = None) -> MatrixError:
    return MatrixError("no", where="x", status=status, retry_after_s=after_s)


@dataclass
class Desk:
    database: Database
    api: ScriptedApi
    sender: Sender
    held: Any

    async def queue(self, *txns: str, room: str = "!r:x") -> list[StoredMessage]:
        queued = []
        for txn in txns:
            reply = {"command": f"${txn}", "trace": "t", "ok": True, "final": True}
            relation = {"rel_type": "m.thread", "event_id": f"${txn}"}
            content = {"body": txn, "m.relates_to": relation, "org.agency.reply": reply}
            message = Message(txn, room, "@bot:x", content, "t-1")
            now = self.sender.clock.now_ms()
            add = partial(outbox.add, message=message, now_ts=now)
            stored = await self.database.write(add)
            assert stored is not None
            queued.append(stored)
        return queued

    async def counts(self) -> dict[OutboxState, int]:
        return await self.database.read(outbox.counts)


@pytest.fixture
def desk(database: Database, clock: Clock, held: Any) -> Desk:
    api = ScriptedApi()
    sender = Sender(
        database=database,
        api=api,  # type: ignore[arg-type]  # only its one call is made
        clock=clock,
        attempts=3,
        backoff=Backoff(first_s=1.0, longest_s=60, jitter=lambda: 1.0),
        settled=asyncio.Event(),
    )
    return Desk(database, api, sender, held)


async def test_all_is_sent_in_order(desk: Desk) -> None:
    await desk.queue("one", "two", "three")
    while await desk.sender.send_due() == 0:
        pass
    assert [txn for _, txn in desk.api.sent] == ["one", "two", "three"]
    assert await desk.sender.send_due() is None


async def test_message_that_waits_holds_up_its_room_and_no_other(desk: Desk) -> None:
    await desk.queue("one", "two")
    await desk.queue("three", room="!s:x")
    desk.api.script = [failure(503)]
    assert await desk.sender.send_due() == 0
    assert desk.api.sent == [("!s:x", "three")]
    assert await desk.sender.send_due() == pytest.approx(1.0)
    desk.held.seconds += 1.0
    while await desk.sender.send_due() == 0:
        pass
    assert [txn for _, txn in desk.api.sent] == ["three", "one", "two"]


async def test_homeserver_says_how_long_to_wait(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.script = [failure(429, after_s=17)]
    await desk.sender.send_due()
    assert await desk.sender.send_due() == pytest.approx(17.0)


async def test_wait_grows_and_ends(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.script = [failure(500)] * 3
    waits = []
    for _ in range(3):
        await desk.sender.send_due()
        wait = await desk.sender.send_due()
        waits.append(wait)
        desk.held.seconds += wait or 0
    assert waits == [pytest.approx(1.0), pytest.approx(2.0), None]
    assert await desk.counts() == {OutboxState.PENDING: 0, OutboxState.FAILED: 1}
    (row,) = await desk.database.read(lambda c: audit.by_trace(c, "t-1", 9))
    assert (row.action, row.outcome, row.target) == ("reply", "failed", "!r:x")


async def test_clock_that_was_put_back_does_not_stop_the_sending(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.script = [failure(503)]
    await desk.sender.send_due()
    desk.held.seconds -= 86_400
    assert await desk.sender.send_due() == 0
    assert desk.api.sent == [("!r:x", "one")]


async def test_doubtful_message_is_looked_for_before_it_is_sent_again(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.script = [failure(None)]
    await desk.sender.send_due()
    (stored,) = await desk.database.read(outbox.first_of_each_room)
    desk.api.posted = {"$posted": stored.message.content}
    desk.held.seconds += 60
    assert await desk.sender.send_due() == 0
    assert desk.api.sent == []
    assert await desk.counts() == {OutboxState.PENDING: 0, OutboxState.FAILED: 0}


@pytest.mark.parametrize("other", ["somebody else's", "another command's"])
async def test_something_like_it_is_not_taken_for_it(desk: Desk, other: str) -> None:
    await desk.queue("one")
    desk.api.script = [failure(None)]
    await desk.sender.send_due()
    (stored,) = await desk.database.read(outbox.first_of_each_room)
    reply = dict(stored.message.content["org.agency.reply"])
    if other == "another command's":
        desk.api.posted = {"$x": {"org.agency.reply": {**reply, "command": "$else"}}}
    else:
        desk.api.posted = {"$x": {"body": "one"}, "$y": None, "$z": "text"}
    desk.held.seconds += 60
    assert await desk.sender.send_due() == 0
    assert desk.api.sent == [("!r:x", "one")]


async def test_what_waited_at_the_start_is_doubtful(desk: Desk) -> None:
    await desk.queue("one")
    (stored,) = await desk.database.read(outbox.first_of_each_room)
    desk.api.posted = {"$posted": stored.message.content}
    running = asyncio.create_task(desk.sender.run())
    await asyncio.wait_for(desk.sender.settled.wait(), 10)
    running.cancel()
    assert desk.api.sent == []


async def test_offered_messages_are_sent_once_each_in_order(desk: Desk) -> None:
    running = asyncio.create_task(desk.sender.run())
    txns = [f"txn{number}" for number in range(250)]
    for txn in txns:
        (stored,) = await desk.queue(txn)
        desk.sender.offer(stored)
        if txn in txns[:5]:
            await asyncio.wait_for(desk.sender.settled.wait(), 10)
            desk.sender.settled.clear()
    while sum((await desk.counts()).values()):
        await asyncio.wait_for(desk.sender.settled.wait(), 10)
        desk.sender.settled.clear()
    running.cancel()
    assert [txn for _, txn in desk.api.sent] == txns


async def test_message_offered_behind_one_that_waits_does_not_overtake_it(desk: Desk) -> None:
    assert await desk.sender.send_due() is None
    desk.api.script = [failure(503)]
    for txn in ("one", "two"):
        (stored,) = await desk.queue(txn)
        desk.sender.offer(stored)
    assert await desk.sender.send_due() == 0
    assert await desk.sender.send_due() == pytest.approx(1.0)
    assert desk.api.sent == []
    desk.held.seconds += 1
    while await desk.sender.send_due() == 0:
        pass
    assert [txn for _, txn in desk.api.sent] == ["one", "two"]


THREAD = {"rel_type": "m.thread", "event_id": "$root"}


@pytest.mark.parametrize(
    ("events", "where"),
    [
        ({"$one": THREAD}, THREAD),
        ({"$one": {"rel_type": "m.replace", "event_id": "$first"}, "$first": THREAD}, THREAD),
        ({"$one": {"rel_type": "m.reference", "event_id": "$x"}}, {"m.in_reply_to": None}),
        ({"$one": {"rel_type": 5, "event_id": "$x"}}, {"m.in_reply_to": None}),
        ({"$one": {"rel_type": "m.thread", "event_id": 5}}, {"m.in_reply_to": None}),
        ({"$one": {}}, None),
        ({"$one": None}, None),
        ({}, None),
    ],
)
async def test_refused_answer_goes_where_the_command_was_said(
    desk: Desk, events: dict[str, Any], where: Any
) -> None:
    await desk.queue("one")
    desk.api.events, desk.api.script = events, [failure(400)]
    while await desk.sender.send_due() == 0:
        pass
    assert desk.api.contents[-1].get("m.relates_to") == where
    assert len(desk.api.sent) == 1


async def test_answer_that_is_refused_everywhere_is_sent_alone(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.events, desk.api.script = {"$one": THREAD, "$root": THREAD}, [failure(400)] * 2
    while await desk.sender.send_due() == 0:
        pass
    assert "m.relates_to" not in desk.api.contents[-1]


async def test_place_that_cannot_be_asked_for_is_asked_for_later(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.events, desk.api.script = {"$one": failure(503)}, [failure(400)]
    assert await desk.sender.send_due() == 0
    wait = await desk.sender.send_due()
    assert wait == pytest.approx(1.0)
    desk.api.events, desk.api.script = {"$one": THREAD}, [failure(400)]
    desk.held.seconds += 1
    while await desk.sender.send_due() == 0:
        pass
    assert desk.api.contents[-1]["m.relates_to"] == THREAD


async def test_place_that_is_never_told_is_given_up_like_any_other_send(desk: Desk) -> None:
    lost: list[int] = []
    desk.sender.given_up = lambda: lost.append(1)
    await desk.queue("one")
    for wait in (7.0, 7.0, None):
        desk.api.events = {"$one": failure(503, after_s=7.0)}
        desk.api.script = [failure(400)]
        assert await desk.sender.send_due() == 0
        assert await desk.sender.send_due() == (wait and pytest.approx(wait)), "as it asked"
        assert bool(lost) is (wait is None)
        desk.held.seconds += 7
    assert (await desk.counts())[OutboxState.FAILED] == 1


async def test_doubtful_message_without_a_thread_is_looked_for_in_the_room(desk: Desk) -> None:
    await desk.queue("one")
    desk.api.script = [failure(400), failure(None)]
    await desk.sender.send_due()
    await desk.sender.send_due()
    (stored,) = await desk.database.read(outbox.first_of_each_room)
    assert "m.relates_to" not in stored.message.content
    desk.api.posted = {"$posted": stored.message.content}
    desk.held.seconds += 60
    while await desk.sender.send_due() == 0:
        pass
    assert desk.api.sent == []


async def run_until_settled(desk: Desk) -> None:
    """Run the sender, as after a start, until it has settled a message."""
    running = asyncio.create_task(desk.sender.run())
    try:
        async with asyncio.timeout(5):
            await desk.sender.settled.wait()
    finally:
        running.cancel()


async def test_notice_that_waits_is_not_taken_for_another(desk: Desk) -> None:
    """After a crash the room is searched; another message of the bot there says nothing."""
    old, new = (
        notice_message(text, "!r:x", as_user="@bot:x", trace=text) for text in ("old", "new")
    )
    desk.api.posted["$old"] = old.content
    desk.api.posted["$new"] = {"body": "a reply", "org.agency.reply": {}}
    await desk.database.write(lambda c: outbox.add(c, new, 0))
    await run_until_settled(desk)
    assert [content["body"] for content in desk.api.contents] == ["new"]


async def test_notice_that_was_posted_before_a_crash_is_not_posted_again(desk: Desk) -> None:
    message = notice_message("new", "!r:x", as_user="@bot:x", trace="new")
    desk.api.posted["$new"] = message.content
    await desk.database.write(lambda c: outbox.add(c, message, 0))
    await run_until_settled(desk)
    assert desk.api.contents == []
    assert (await desk.counts())[OutboxState.PENDING] == 0


@dataclass
class Cards:
    """A card in the outbox, and an edit of it behind it."""

    desk: Desk

    async def queue(self) -> None:
        notice = {"org.agency.notice": {"trace": "t", "card": 0}}
        new = {"body": "later", "org.agency.notice": {"trace": "t", "card": 1}}
        edit = {**new, "body": "* later", "m.new_content": new, "edits": "card"}
        for txn, content in (("card", {"body": "soon", **notice}), ("edit", edit)):
            message = Message(txn, "!r:x", "@bot:x", content, "t-1")
            add = partial(outbox.add, message=message, now_ts=self.desk.sender.clock.now_ms())
            await self.desk.database.write(add)

    async def send(self) -> None:
        while await self.desk.sender.send_due() == 0:
            pass


async def test_an_edit_names_the_event_that_its_message_became(desk: Desk) -> None:
    await Cards(desk).queue()
    await Cards(desk).send()
    assert [txn for _, txn in desk.api.sent] == ["card", "edit"]
    edit = desk.api.contents[1]
    assert edit["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$card"}
    assert edit["m.new_content"]["body"] == "later"
    assert "edits" not in edit


async def test_an_edit_of_a_card_that_was_given_up_is_left_out(desk: Desk) -> None:
    await Cards(desk).queue()
    desk.api.script = [failure(403)]
    await Cards(desk).send()
    assert desk.api.sent == []
    assert await desk.counts() == {OutboxState.PENDING: 0, OutboxState.FAILED: 1}
    rows = await desk.database.read(lambda c: audit.tail(c, 10))
    assert [row.action for row in rows].count("reply") == 1, "the card, not its edit"


@pytest.mark.parametrize("status", [400, 403])
async def test_an_edit_that_is_refused_is_never_posted_alone(desk: Desk, status: int) -> None:
    await Cards(desk).queue()
    assert await desk.sender.send_due() == 0
    desk.api.script = [failure(status)]
    await Cards(desk).send()
    assert [txn for _, txn in desk.api.sent] == ["card"]
    assert await desk.counts() == {OutboxState.PENDING: 0, OutboxState.FAILED: 0}


async def test_an_edit_follows_a_card_that_went_to_another_thread(desk: Desk) -> None:
    await Cards(desk).queue()
    relation = {"rel_type": "m.thread", "event_id": "$edit-of-a-command"}
    await desk.database.write(
        lambda c: outbox.set_content(
            c, 1, txn_id="card", content={"body": "soon", "m.relates_to": relation}
        )
    )
    desk.api.script = [failure(400)]
    await Cards(desk).send()
    assert [txn for _, txn in desk.api.sent] == ["card-alone", "edit"]
    assert desk.api.contents[1]["m.relates_to"]["event_id"] == "$card-alone"


async def test_an_edit_that_was_posted_before_a_crash_is_not_posted_again(desk: Desk) -> None:
    await Cards(desk).queue()
    assert await desk.sender.send_due() == 0
    desk.api.script = [failure(None)]
    await desk.sender.send_due()
    new = {"body": "later", "org.agency.notice": {"trace": "t", "card": 1}}
    desk.api.posted = {"$there": new}
    desk.held.seconds += 60
    await Cards(desk).send()
    assert [txn for _, txn in desk.api.sent] == ["card"]
    assert await desk.counts() == {OutboxState.PENDING: 0, OutboxState.FAILED: 0}
