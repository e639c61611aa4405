"""Deletion of a message that held a token: tried until the homeserver decides, and told."""

from __future__ import annotations

from typing import Any

import pytest

from agency.control.events import EventKind, IncomingEvent
from agency.control.rooms.taking import Taker
from agency.matrix import MatrixError

EVENT = IncomingEvent("$leak", "!r:x.org", "@bob:x.org", 1, EventKind.MESSAGE, leak="an API key")


class Api:
    """A homeserver that answers as told, then takes the redaction."""

    def __init__(self, *errors: MatrixError) -> None:
        self.errors, self.calls = list(errors), list[tuple[str, str]]()

    async def request(self, method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.calls.append((method, path))
        if self.errors:
            raise self.errors.pop(0)
        return {"event_id": "$r"}


async def no_sleep(_seconds: float) -> None:
    return None


def taker(api: Api) -> Taker:
    homeserver: Any = api
    return Taker(homeserver, "@agency:x.org", sleep=no_sleep)


async def test_it_is_deleted_and_asked_again_it_is_the_same_request() -> None:
    api = Api()
    for _ in range(2):
        assert "I deleted the message" in await taker(api).take_away(EVENT)
    assert api.calls[0] == api.calls[1]
    assert "/redact/" in api.calls[0][1]


@pytest.mark.parametrize("times", [1, 4])
async def test_a_homeserver_that_restarts_is_waited_for(times: int) -> None:
    api = Api(*(MatrixError("no answer", where="x") for _ in range(times)))
    assert "I deleted the message" in await taker(api).take_away(EVENT)
    assert len(api.calls) == times + 1


async def test_who_may_not_says_so() -> None:
    refused = MatrixError("you may not redact", where="x", status=403, errcode="M_FORBIDDEN")
    api = Api(refused, refused)
    said = await taker(api).take_away(EVENT)
    assert said == "I could not delete the message (you may not redact): delete it yourself."
    assert len(api.calls) == 1


async def test_it_does_not_try_for_ever() -> None:
    api = Api(*(MatrixError("no answer", where="x") for _ in range(50)))
    assert "could not delete" in await taker(api).take_away(EVENT)
    assert len(api.calls) == 5
