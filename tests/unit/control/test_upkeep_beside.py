"""A room beside the control room: whatever it lacks is one kind of condition, and never blocks."""

from __future__ import annotations

from typing import Any

import pytest

from agency.clock import Clock
from agency.control.conditions import Code, Conditions
from agency.control.service.upkeep import RoomUpkeep
from agency.matrix import Finding, Lack, MatrixError, RoomLostError, RoomState

LOST = RoomLostError("the bot cannot enter the audit room", status=403, where="!r:x")
TAKEN = MatrixError(
    "the alias is taken", status=400, errcode="M_EXCLUSIVE", where="POST /createRoom"
)
AWAY = MatrixError("no answer", where="GET /x")
SILENT = Finding(Lack.SILENCE, "@agency:x", "the bot was muted", "give it power", blocks=True)
ABSENT = Finding(Lack.OPERATOR, "@alice:x", "@alice:x declined", "invite")


class Beside:
    """A keeper of an audit room, whose next state a test chooses."""

    def __init__(self, clock: Clock) -> None:
        self.conditions, self.state = Conditions(clock), RoomState("!r:x")
        self.error: Exception | None = None
        self.moves: list[str] = []
        self.keeper = RoomUpkeep(
            self.ensure, self.conditions, self.moved, room_id="!r:x", beside=Code.AUDIT_ROOM
        )

    async def ensure(self, _known: str | None) -> RoomState:
        if self.error is not None:
            raise self.error
        return self.state

    async def moved(self, room_id: str) -> None:
        self.moves.append(room_id)

    def noted(self) -> list[tuple[Any, bool]]:
        return [(each.code, each.blocks) for each in self.conditions.present()]


@pytest.fixture
def beside(clock: Clock) -> Beside:
    return Beside(clock)


@pytest.mark.parametrize("error", [LOST, TAKEN])
async def test_a_room_that_is_lost_or_refused_is_a_condition(
    beside: Beside, error: Exception
) -> None:
    beside.error = error
    assert not await beside.keeper.check()
    assert beside.noted() == [(Code.AUDIT_ROOM, False)]
    assert not beside.keeper.is_open
    beside.error = None
    assert await beside.keeper.check()
    assert beside.noted() == []
    assert beside.keeper.is_open


async def test_one_where_it_may_not_speak_is_not_open(beside: Beside) -> None:
    beside.state = RoomState("!r:x", (SILENT, ABSENT))
    assert not await beside.keeper.check()
    assert beside.noted() == [(Code.AUDIT_ROOM, False)] * 2
    assert not beside.keeper.is_open
    beside.state = RoomState("!r:x", (ABSENT,))
    assert not await beside.keeper.check()
    assert beside.keeper.is_open


async def test_a_homeserver_that_is_away_says_nothing_about_it(beside: Beside) -> None:
    beside.error = AWAY
    assert not await beside.keeper.check()
    assert beside.noted() == []
    assert beside.keeper.is_open


async def test_what_the_control_room_lacks_is_left(beside: Beside) -> None:
    beside.conditions.note(Code.ROOM_LOST, "lost", blocks=True)
    beside.conditions.note(Code.AGENT_ABSENT, "absent", subject="@agent-pm:x")
    assert await beside.keeper.check()
    assert beside.noted() == [(Code.ROOM_LOST, True), (Code.AGENT_ABSENT, False)]
