"""Status cards: one message about a change that takes long, edited in place, at a bounded rate."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOT, ROOM, Desk

from agency.control.execution.cards import edit_of, edited_message
from agency.control.execution.result import Invocation, Result
from agency.control.operations import Origin, OriginKind
from agency.control.policy import SYSTEM
from agency.control.store import outbox
from agency.control.store.audit import Outcome

START = "!start-agent pm"
REPLY_KEY, NOTICE_KEY = "org.agency.reply", "org.agency.notice"


class EndedError(BaseException):
    """The end of the control plane, in the middle of a handler."""


def stepping(desk: Desk, *steps: str, pause_s: float = 0.02, end: Any = None) -> None:
    async def start(invocation: Invocation) -> Result:
        for step in steps:
            await invocation.progress(step)
            await asyncio.sleep(pause_s)
        if end is not None:
            raise end
        return Result("started")

    desk.handlers["agents start"] = start


async def cards(desk: Desk) -> list[dict[str, Any]]:
    """The contents of the cards and their edits."""
    return [each for each in await desk.said() if "card" in _about(each)]


def _about(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content.get(REPLY_KEY) or content.get(NOTICE_KEY) or {}
    return found


def lines(content: dict[str, Any]) -> list[str]:
    body: str = content.get("m.new_content", content)["body"]
    return body.split("\n")


async def test_a_long_change_has_one_card_that_is_edited_to_its_end(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    stepping(desk, "starting its process", "waiting until it answers")
    await desk.say(START)
    first, *edits = await cards(desk)
    command = first[REPLY_KEY]["command"]
    assert first["m.relates_to"]["rel_type"] == "m.thread"
    assert first["m.relates_to"]["event_id"] == command
    assert lines(first) == ["!agency agents start pm: runs", "• starting its process"]
    assert first["msgtype"] == "m.notice", "nobody is rung for a step"
    assert lines(edits[0])[1:] == ["• starting its process", "• waiting until it answers"]
    assert lines(edits[-1])[0] == "!agency agents start pm: done"
    assert lines(edits[-1])[1:] == lines(edits[0])[1:]
    for edit in edits:
        assert edit["body"] == f"* {edit['m.new_content']['body']}"
        assert "m.relates_to" not in edit["m.new_content"]
        sent = edit_of(edit, "$card")
        assert sent["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$card"}
        assert edited_message(sent) is None, "what is kept for the sender is not sent"
    said = await desk.said()
    assert said[-1]["body"] == "started"
    assert said[-2] == edits[-1], "the card ends before the answer"


async def test_what_ends_soon_has_no_card(desk: Desk) -> None:
    desk.card_pace_s = (5, 5)
    stepping(desk, "starting its process")
    assert [reply["body"] for reply in await desk.say(START)] == ["started"]


async def test_a_change_without_steps_has_no_card(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    assert [reply["body"] for reply in await desk.say(START)] == ["did agents start"]


@pytest.mark.parametrize("every_s", [0.1, 0.2])
async def test_edits_are_few_however_many_steps_there_are(desk: Desk, every_s: float) -> None:
    desk.card_pace_s = (0, every_s)
    stepping(desk, *(f"step {number}" for number in range(20)), pause_s=0.02)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await desk.say(START)
    took_s = loop.time() - began
    found = await cards(desk)
    assert 3 <= len(found) <= took_s / every_s + 2, "the card, one each so often, and the end"
    assert len(lines(found[-1])) == 21, "the last edit has every step"


async def test_steps_beyond_the_limit_are_left_out(desk: Desk) -> None:
    desk.card_pace_s = (0, 0.05)
    stepping(desk, *(f"step {number}" for number in range(30)), pause_s=0.005)
    await desk.say(START)
    assert lines((await cards(desk))[-1])[-1] == "• step 19"


async def test_no_step_is_shown_after_the_end(desk: Desk) -> None:
    kept: list[Any] = []
    desk.card_pace_s = (0, 0)

    async def start(invocation: Invocation) -> Result:
        kept.append(invocation.progress)
        return Result("started")

    desk.handlers["agents start"] = start
    await desk.say(START)
    await kept[0]("too late")
    assert [content["body"] for content in await desk.said()] == ["started"]


async def test_after_a_crash_the_same_card_is_edited_on(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    stepping(desk, "starting its process", "waiting", end=EndedError())
    event = desk.event(START)
    await desk.take(event)
    with pytest.raises(EndedError):
        await desk.settle()
    before = await cards(desk)
    assert len(before) == 2
    await desk.settle()
    found = await cards(desk)
    assert [each for each in found if "m.new_content" not in each] == before[:1]
    assert lines(found[-1]) == [
        "!agency agents start pm: interrupted, because the control plane ended",
        "• starting its process",
        "• waiting",
    ]
    ids = [message.message.txn_id for message in desk.spoken]
    assert len(set(ids)) == len(ids)


async def test_what_mends_an_interrupted_change_goes_on_with_its_card(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    stepping(desk, "starting its process", end=EndedError())
    await desk.take(desk.event(START))
    with pytest.raises(EndedError):
        await desk.settle()
    stepping(desk, "starting it once more", "waiting")
    desk.targets = Remedying(desk)
    await desk.settle()
    found = await cards(desk)
    assert sum("m.new_content" not in each for each in found) == 1, "no second card"
    assert lines(found[-1])[1:] == [
        "• starting its process",
        "• starting it once more",
        "• waiting",
    ]
    assert len({each["body"] for each in found}) == len(found)


class Remedying:
    """Targets that a start mends."""

    def __init__(self, desk: Desk) -> None:
        self.inner: Any = desk.make_operations().targets

    async def remedy(self, _target: str, _trace: str) -> Any:
        from agency.control.commands import parse

        return parse("!agency agents start pm")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("what", ["command", "card"])
async def test_who_deletes_the_command_or_the_card_ends_its_edits(desk: Desk, what: str) -> None:
    desk.card_pace_s = (0, 0)
    began, gate = asyncio.Event(), asyncio.Event()

    async def start(invocation: Invocation) -> Result:
        await invocation.progress("starting its process")
        await asyncio.sleep(0.05)
        began.set()
        await gate.wait()
        await invocation.progress("waiting")
        await asyncio.sleep(0.05)
        return Result("started")

    desk.handlers["agents start"] = start
    event = desk.event(START)
    await desk.take(event)
    operations = desk.make_operations()
    running = asyncio.create_task(desk.finish(operations))
    await asyncio.wait_for(began.wait(), 10)
    (card,) = desk.spoken
    await desk.database.write(lambda c: outbox.set_sent(c, card.sequence, "$card"))
    deleted = event["event_id"] if what == "command" else "$card"
    assert not await desk.delete(operations, deleted, ALICE), "what has begun goes on"
    gate.set()
    await asyncio.wait_for(running, 10)
    said = [content for content in await desk.said() if content]
    assert [content["body"] for content in said] == ["started"]


async def test_a_stranger_who_deletes_the_command_ends_nothing(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    event = desk.event(START)

    async def start(invocation: Invocation) -> Result:
        await invocation.progress("starting its process")
        await asyncio.sleep(0.05)
        await desk.delete(operations, event["event_id"], "@mallory:x.org")
        await invocation.progress("waiting")
        await asyncio.sleep(0.05)
        return Result("started")

    desk.handlers["agents start"] = start
    await desk.take(event)
    operations = desk.make_operations()
    await desk.finish(operations)
    assert lines((await cards(desk))[-1])[0].endswith("done")


async def test_the_reconcilers_change_has_its_card_in_the_control_room(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    stepping(desk, "starting its process", "waiting")
    operations = desk.make_operations()
    await operations.step()
    from agency.control.commands import parse

    command = parse("!agency agents start pm")
    origin = Origin(OriginKind.RECONCILE, "t-1/1", desk.clock.now_ms())
    asked = asyncio.create_task(operations.ask(command, origin, SYSTEM, "t-1"))
    await asyncio.sleep(0.05)
    await desk.finish(operations)
    assert (await asyncio.wait_for(asked, 10)).ok
    first, *edits = await cards(desk)
    assert "m.relates_to" not in first
    assert first[NOTICE_KEY]["trace"] == "t-1"
    assert lines(edits[-1])[0] == "!agency agents start pm: done"
    assert {each.message.room_id for each in desk.spoken} == {ROOM}
    assert {each.message.as_user for each in desk.spoken} == {BOT}


async def test_replies_go_first_where_many_messages_wait(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    desk.max_outbox = 2
    stepping(desk, "starting its process", "waiting")

    def fill(connection: Any) -> None:
        for number in range(2):
            message = outbox.Message(f"old{number}", "!other:x.org", BOT, {"body": "x"}, "t")
            outbox.add(connection, message, 0)

    event = desk.event(START)
    await desk.take(event)
    operations = desk.make_operations()
    await operations.step()
    await desk.database.write(fill)
    await desk.finish(operations)
    assert await cards(desk) == []
    assert (await desk.outcomes())[-1][2] == Outcome.DONE


async def test_a_step_cannot_break_out_of_its_line_or_ring_anybody(desk: Desk) -> None:
    desk.card_pace_s = (0, 0)
    stepping(desk, "<b>@alice:x.org</b>\nforged: done\u202e")
    await desk.say(START)
    first = (await cards(desk))[0]
    assert len(lines(first)) == 2
    assert "\u202e" not in first["body"]
    assert "<b>" not in first["formatted_body"]
    assert first["m.mentions"] == {}
