"""The one entry of commands that come from no room, as its interfaces call it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, Desk

from agency.control.entrance.enter import Answer, Asked, Entrance, enter
from agency.control.operations import Operations, OriginKind, State
from agency.protocols import CommandOutcome


def asked(desk: Desk, text: str, **changes: Any) -> Asked:
    facts = {"id": "one", "actor": "cli:root", "sent_ts": desk.clock.now_ms(), **changes}
    return Asked(kind=facts.pop("kind", OriginKind.CLI), text=text, **facts)


async def entered(desk: Desk, what: Asked, front: Operations | None = None) -> Answer:
    front = front or desk.make_operations()
    call = asyncio.create_task(
        enter(Entrance(front, desk.clock, lambda: "t-new"), what, lambda _text: None)
    )
    while not call.done():
        await desk.finish(front)
        await asyncio.sleep(0.01)
    return await call


@pytest.mark.parametrize(
    ("kind", "actor"), [(OriginKind.CLI, "cli:root"), (OriginKind.HTTP, ALICE)]
)
@pytest.mark.parametrize("text", ["!agency agents start pm", "!start-agent pm", "!agency ping"])
async def test_it_runs_and_is_on_record(
    desk: Desk, kind: OriginKind, actor: str, text: str
) -> None:
    answer = await entered(desk, asked(desk, text, kind=kind, actor=actor))
    assert (answer.outcome, answer.trace) == (CommandOutcome.DONE, "t-new")
    assert answer.said.startswith("!agency ")
    assert {row[0] for row in await desk.outcomes()} == {actor}
    facts = (await desk.details())[-1]
    assert (facts["cause"], facts["request"]) == (str(kind), "one")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"actor": "@eve:x.org"}, "not-an-operator"),
        ({"actor": "root"}, "not-an-operator"),
        ({"sent_ts": 0}, "not-taken"),
    ],
)
async def test_refusals_are_on_record(desk: Desk, changes: dict[str, Any], code: str) -> None:
    answer = await entered(desk, asked(desk, "!agency agents start pm", **changes))
    assert answer.outcome is CommandOutcome.REFUSED
    assert not answer.reply.ok
    assert desk.calls == []
    assert (await desk.details())[-1]["code"] == code


async def test_a_text_that_is_no_command_is_on_record_without_its_words(desk: Desk) -> None:
    answer = await entered(desk, asked(desk, "!agency agents start s3cret too many"))
    assert answer.outcome is CommandOutcome.NOT_UNDERSTOOD
    facts = (await desk.details())[-1]
    assert facts["code"] == "not-understood"
    assert "s3cret" not in str(facts)


async def test_a_time_to_come_gives_no_longer_deadline(desk: Desk) -> None:
    """A clock that was set back, or who says so, does not make a command wait for years."""
    await entered(desk, asked(desk, "!agency ping", sent_ts=2**52))
    from sqlalchemy import text

    deadline = await desk.database.read(
        lambda c: c.scalar(text("SELECT deadline_ts FROM operations"))
    )
    assert deadline == desk.clock.now_ms() + 600_000


async def test_asked_again_late_the_answer_is_still_there(desk: Desk) -> None:
    first = await entered(desk, asked(desk, "!agency ping"))
    sent_ts = desk.clock.now_ms()
    desk.held.seconds += 3600
    again = await entered(desk, asked(desk, "!agency ping", sent_ts=sent_ts))
    assert again == first
    assert len(desk.calls) == 1


async def test_cancelled_it_goes_on(desk: Desk) -> None:
    front = desk.make_operations()
    await desk.finish(front)
    entrance = Entrance(front, desk.clock, lambda: "t-new")
    call = asyncio.create_task(
        enter(entrance, asked(desk, "!agency agents start pm"), lambda _text: None)
    )
    await asyncio.wait_for(front.wake.wait(), 10)
    call.cancel()
    await asyncio.wait([call])
    assert await desk.states() == {State.PROPOSED: 1}
    await desk.finish(front)
    assert desk.calls == ["agents start by cli:root"]


async def test_without_a_room_messages_wait_and_commands_do_not(desk: Desk) -> None:
    front = desk.make_operations()
    front.has_room = False
    await desk.take(desk.event("!agency agents stop pm"))
    assert not await front.step()
    assert desk.calls == []
    await entered(desk, asked(desk, "!agency agents start pm"), front)
    assert desk.calls == ["agents start by cli:root"]
    front.enter_room(front.rules)
    await desk.finish(front)
    assert desk.calls[1:] == [f"agents stop by {ALICE}"]
