"""Alerts are told once each, also after a restart, and only when they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from agency.clock import Clock
from agency.control.alerts.intake import AGAIN_MS, MOST_AN_HOUR, AlertIntake, BusyError
from agency.control.conditions import Code, Conditions
from agency.control.rooms.speaking import Speaker
from agency.control.store import alerts, outbox, pruning
from agency.control.store.outbox import StoredMessage
from agency.store import Database

Make = Callable[..., Any]


class Desk:
    """An intake over a real store, and the messages that it handed over."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.said: list[StoredMessage] = []
        self.room_id: str | None = "!r:x"
        self.numbers = iter(range(10**6))
        self.start()

    def start(self, max_outbox: int = 1000) -> None:
        """Begin anew on the same store."""
        self.conditions = Conditions(self.clock)
        self.intake = AlertIntake(
            Speaker(
                database=self.database,
                clock=self.clock,
                room_id=lambda: self.room_id,
                as_user="@agency:x",
                new_trace=lambda: f"t-{next(self.numbers)}",
                say=self.said.append,
                max_outbox=max_outbox,
            ),
            self.conditions,
            lambda text: text.replace("canary", "[***]"),
        )

    @property
    def bodies(self) -> list[str]:
        return [each.message.content["body"] for each in self.said]

    async def waiting(self) -> int:
        return await self.database.read(outbox.pending)


@pytest.fixture
def desk(database: Database, clock: Clock) -> Desk:
    return Desk(database, clock)


async def test_alert_is_told_when_it_fires_and_when_it_is_over(
    desk: Desk, make_body: Make, make_alert: Make
) -> None:
    assert await desk.intake.take(make_body()) == 1
    assert await desk.intake.take(make_body(make_alert(status="resolved"))) == 1
    firing, over = (each.message.content for each in desk.said)
    assert firing["body"].startswith("Critical: DiskFillsUp: / is full")
    assert over["body"].startswith("Over: DiskFillsUp: / is full")
    # A client rings for a text, never for a notice; and a text mentions nobody.
    assert (firing["msgtype"], over["msgtype"]) == ("m.text", "m.notice")
    assert firing["m.mentions"] == {}
    assert "formatted_body" not in firing
    assert firing["org.agency.notice"]["alerts"] == [{"name": "DiskFillsUp", "firing": True}]


async def test_delivered_again_it_is_not_told_again(desk: Desk, make_body: Make) -> None:
    assert await desk.intake.take(make_body()) == 1
    for _ in range(3):
        assert await desk.intake.take(make_body()) == 0
    desk.start()
    assert await desk.intake.take(make_body()) == 0
    assert len(desk.said) == await desk.waiting() == 1
    assert desk.intake.counts == {"told": 0, "known": 1}


async def test_an_alert_that_joins_a_group_is_told_alone(
    desk: Desk, make_body: Make, make_alert: Make
) -> None:
    other = make_alert(labels={"mountpoint": "/srv"}, annotations={"summary": "/srv is full"})
    await desk.intake.take(make_body())
    assert await desk.intake.take(make_body(make_alert(), other)) == 1
    assert "/srv is full" in desk.bodies[1]
    assert "\n" not in desk.bodies[1]


async def test_one_that_comes_twice_in_a_delivery_is_told_once(
    desk: Desk, make_body: Make, make_alert: Make
) -> None:
    assert await desk.intake.take(make_body(make_alert(), make_alert())) == 1


async def test_what_fires_for_long_is_told_again_and_what_is_over_is_not(
    desk: Desk, held: Any, make_body: Make, make_alert: Make
) -> None:
    over = make_body(make_alert(status="resolved", labels={"mountpoint": "/srv"}))
    await desk.intake.take(make_body())
    await desk.intake.take(over)
    held.seconds += AGAIN_MS / 1000 - 1
    assert await desk.intake.take(make_body()) == 0
    held.seconds += 1
    assert await desk.intake.take(make_body()) == 1
    assert await desk.intake.take(over) == 0
    assert desk.bodies[2].startswith("Still critical: DiskFillsUp")


async def test_message_that_was_given_up_did_not_tell(desk: Desk, make_body: Make) -> None:
    await desk.intake.take(make_body())
    await desk.database.write(lambda c: outbox.set_failed(c, desk.said[0].sequence, attempts=20))
    assert await desk.intake.take(make_body()) == 1


@pytest.mark.parametrize("code", [Code.ROOM_LOST, Code.BOT_SILENCED, Code.ROOM_ENCRYPTED])
async def test_without_a_room_it_is_kept_by_who_delivers(
    desk: Desk, make_body: Make, code: Code
) -> None:
    desk.conditions.note(code, "x", blocks=True)
    with pytest.raises(BusyError):
        await desk.intake.take(make_body())
    desk.conditions.clear(code)
    desk.room_id = None
    with pytest.raises(BusyError):
        await desk.intake.take(make_body())
    assert await desk.waiting() == 0
    desk.room_id = "!r:x"
    desk.conditions.note(Code.TRANSACTION_REFUSED, "x", blocks=True)
    assert await desk.intake.take(make_body()) == 1


async def test_full_outbox_takes_none(desk: Desk, make_body: Make, make_alert: Make) -> None:
    desk.start(max_outbox=1)
    await desk.intake.take(make_body())
    with pytest.raises(BusyError):
        await desk.intake.take(make_body(make_alert("Other")))
    assert await desk.intake.take(make_body()) == 0  # it is told, whatever waits
    await desk.database.write(lambda c: outbox.set_sent(c, desk.said[0].sequence, "$e"))
    assert await desk.intake.take(make_body(make_alert("Other"))) == 1


async def test_messages_in_an_hour_are_bounded_also_across_a_restart(
    desk: Desk, held: Any, make_body: Make, make_alert: Make
) -> None:
    for number in range(MOST_AN_HOUR):
        assert await desk.intake.take(make_body(make_alert(f"A{number}"))) == 1
    desk.start()
    with pytest.raises(BusyError):
        await desk.intake.take(make_body(make_alert("Late")))
    assert await desk.waiting() == MOST_AN_HOUR
    held.seconds += 3600
    assert await desk.intake.take(make_body(make_alert("Late"))) == 1


async def test_what_cannot_be_stored_is_not_taken(
    desk: Desk, make_body: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise SQLAlchemyError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "add", broken)
        with pytest.raises(SQLAlchemyError):
            await desk.intake.take(make_body())
    assert await desk.waiting() == 0
    assert desk.said == []
    assert await desk.intake.take(make_body()) == 1


async def test_a_hundred_alerts_are_one_message_of_bounded_size(
    desk: Desk, make_body: Make, make_alert: Make
) -> None:
    long = {"summary": "\N{SNOWMAN}" * 9000, "description": "\u202e" * 9000}
    many = [make_alert(f"{n}" + "\N{SNOWMAN}" * 900, annotations=long) for n in range(100)]
    assert await desk.intake.take(make_body(*many)) == 100
    (message,) = desk.said
    assert len(str(message.message.content).encode()) < 20_000
    assert "and 92 more" in message.message.content["body"] or "[cut]" in desk.bodies[0]


async def test_secrets_do_not_reach_the_room(desk: Desk, make_body: Make, make_alert: Make) -> None:
    alert = make_alert("Canary canary", annotations={"summary": "canary", "description": "canary"})
    await desk.intake.take(make_body(alert))
    assert "canary" not in str(desk.said[0].message.content)


async def test_what_was_told_long_ago_is_pruned(desk: Desk, held: Any, make_body: Make) -> None:
    await desk.intake.take(make_body())
    held.seconds += 8 * 24 * 3600
    before_ts = desk.clock.now_ms() - pruning.WEEK_MS
    pruned = await desk.database.write(lambda c: pruning.prune(c, before_ts))
    assert pruned.alerts == 1
