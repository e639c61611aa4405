"""Rooms that cannot be joined or read now. The homeserver is simulated: what it answers is."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gosutos import ROOM
from room_events import ME, NOW, event, policy

from agency.agent.rooms import retrying as module
from agency.agent.rooms.homeserver import Homeserver
from agency.agent.rooms.inbox import Inbox
from agency.agent.rooms.listening import MOST_LATER, Later, Listener
from agency.agent.rooms.retrying import MOST_READS, Retrying
from agency.clock import Clock
from agency.matrix import AnswerError, Backoff

FAR, STRANGE = "!far:down.org", "!strange:x.org"
BATCH = {"next_batch": "s2"}


def said(event_id: str, **more: Any) -> dict[str, Any]:
    return event() | {"event_id": event_id} | more


class Simulated:
    """The calls of a homeserver; one whose path holds a word of `broken` fails with that status."""

    def __init__(self) -> None:
        self.broken: dict[str, int] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()

    async def request(self, _method: str, path: str, *_: Any, **_more: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        name = next((each for each in ("sync", "join", "messages") if each in path), path)
        self.calls[name] += 1
        for word, status in self.broken.items():
            if word in path:
                raise AnswerError("no answer of that room's server", where=path, status=status)
        return self.answers.get(name, {})


class Desk:
    """A listener with its inbox, and what tries again beside it; the clock is moved by hand."""

    def __init__(self, inbox: Inbox) -> None:
        self.wall, self.inbox = NOW / 1000, inbox
        self.policy = policy(trust={"rooms": [ROOM, FAR]})
        self.api, self.deleted = Simulated(), list[str]()
        self.api.answers["sync"] = BATCH
        self.listener: Any = Listener(
            SimpleNamespace(user=ME, envelopes=False, oldest_s=900),  # type: ignore[arg-type]
            Homeserver(self.api, ME),  # type: ignore[arg-type]
            inbox,
            SimpleNamespace(read=lambda: self.policy, digest="d"),  # type: ignore[arg-type]
            Clock(wall=lambda: self.wall, steady=lambda: self.wall),
            self.deleted.append,
        )
        self.retrying = Retrying(self.listener, Backoff(2.0, 3600.0, jitter=lambda: 1.0))

    def syncs(self, *, invited: tuple[str, ...] = (), rooms: Any = None) -> None:
        """Have a sync, as at first; its answer holds these."""
        asked = {"invite": {each: {} for each in invited}, "join": rooms or {}}
        self.api.answers["sync"] = {"next_batch": "s2", "rooms": asked}
        asyncio.run(self.listener._round(0.0))

    def looks(self, after_s: float = 0.0) -> list[Later]:
        """Have it look again after a time; return what is left."""
        self.wall += after_s
        asyncio.run(self.retrying.look())
        found: list[Later] = self.listener.later()
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Inbox(tmp_path / "rooms") as inbox:
        inbox.put_fact("since", "s1")
        yield Desk(inbox)


def timeline(*events: dict[str, Any], before: str | None = None) -> dict[str, Any]:
    more = {"limited": True, "prev_batch": before} if before else {}
    return {"timeline": {"events": list(events), **more}}


@pytest.mark.parametrize("status", [502, 429, 408])
def test_an_invitation_that_fails_for_now_costs_no_message(desk: Desk, status: int) -> None:
    desk.api.broken = {"join": status}
    desk.syncs(invited=(FAR, STRANGE), rooms={ROOM: timeline(said("$q"))})
    assert (desk.inbox.knows("$q"), desk.inbox.since) == (True, "s2")
    (kept,) = desk.looks()
    assert (kept.room, kept.tries) == (FAR, 1)
    desk.looks(after_s=1.9)
    assert desk.api.calls["join"] == 1, "it waits, with its own back-off"
    assert desk.looks(after_s=0.2)[0].tries == 2
    desk.looks(after_s=3.9)
    assert desk.api.calls["join"] == 2
    desk.api.broken = {}
    assert not desk.looks(after_s=0.2)
    assert desk.api.calls["join"] == 3


def test_what_is_to_be_tried_outlives_the_process(tmp_path: Path) -> None:
    with Inbox(tmp_path / "rooms") as inbox:
        desk = Desk(inbox)
        desk.api.broken = {"join": 502}
        desk.syncs(invited=(FAR,))
        desk.looks()
    with Inbox(tmp_path / "rooms") as inbox:
        again = Desk(inbox)
        assert not again.looks(after_s=3)
        assert again.api.calls["join"] == 1


@pytest.mark.parametrize(("status", "left"), [(403, 0), (404, 0), (401, 1), (502, 1)])
def test_a_refusal_for_good_is_not_tried_again(desk: Desk, status: int, left: int) -> None:
    """401 is the account's token: the next sync says so, and the invitation stays."""
    desk.api.broken = {"join": status}
    desk.syncs(invited=(FAR,))
    assert len(desk.looks()) == left


def test_a_room_that_never_answers_is_given_up_and_a_new_invitation_begins_anew(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_JOINS", 3)
    desk.api.broken = {"join": 502}
    desk.syncs(invited=(FAR,))
    assert [len(desk.looks(after_s=4000)) for _ in range(4)] == [1, 1, 0, 0]
    assert desk.api.calls["join"] == 3
    assert [each.message for each in caplog.records][-1] == "cannot join a room"
    desk.syncs(invited=(FAR,))
    assert desk.looks()[0].tries == 1


def test_a_room_without_trust_is_not_joined_later(desk: Desk) -> None:
    desk.api.broken = {"join": 502}
    desk.syncs(invited=(FAR,))
    desk.looks()
    desk.api.broken, desk.policy = {}, policy()
    assert not desk.looks(after_s=10)
    assert desk.api.calls["join"] == 1


def test_a_clock_that_goes_back_stops_no_try(desk: Desk) -> None:
    desk.api.broken = {"join": 502}
    desk.syncs(invited=(FAR,))
    desk.looks()
    desk.api.broken = {}
    assert not desk.looks(after_s=-86_400)


def test_a_gap_that_cannot_be_read_now_costs_no_message_of_others(desk: Desk) -> None:
    """Its own newer messages are read, too; the older ones are when they can be."""
    desk.api.broken = {"messages": 502}
    far = timeline(said("$new"), before="p")
    desk.syncs(rooms={FAR: far, ROOM: timeline(said("$q"))})
    known = [desk.inbox.knows(each) for each in ("$q", "$new", "$old")]
    assert (known, desk.inbox.since) == ([True, True, False], "s2")
    (kept,) = desk.listener.later()
    assert (kept.room, kept.before, kept.to) == (FAR, "p", "s1")
    assert desk.looks()[0].tries == 1
    assert not desk.inbox.knows("$old")
    desk.api.broken, desk.api.answers["messages"] = (
        {},
        {"chunk": [said("$old"), {"type": "m.room.redaction", "redacts": "$q", "event_id": "$r"}]},
    )
    assert not desk.looks(after_s=3)
    assert (desk.inbox.knows("$old"), desk.deleted) == (True, ["$q"])


def test_a_gap_that_can_never_be_read_is_given_up(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.api.broken = {"messages": 502}
    desk.syncs(rooms={FAR: timeline(before="p")})
    left = [len(desk.looks(after_s=4000)) for _ in range(MOST_READS)]
    assert left == [1] * (MOST_READS - 1) + [0]
    assert caplog.records[-1].message == "older messages of a room were not read"


def test_a_gap_that_is_refused_for_good_is_none(desk: Desk) -> None:
    desk.api.broken = {"messages": 403}
    desk.syncs(rooms={FAR: timeline(said("$new"), before="p")})
    assert (desk.inbox.knows("$new"), desk.listener.later()) == (True, [])


def test_what_is_kept_is_bounded(desk: Desk) -> None:
    desk.api.broken = {"messages": 502}
    for number in range(MOST_LATER + 5):
        desk.syncs(rooms={FAR: timeline(before=f"p{number}")})
    kept = json.loads(desk.inbox.fact("later") or "")
    assert len(kept) == MOST_LATER
    assert kept[-1]["before"] == f"p{MOST_LATER + 4}"


async def ended(*tasks: asyncio.Task[None]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("hangs", [False, True])
async def test_the_listener_waits_for_a_new_invitation_but_not_for_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """Who invites it and speaks at once is heard; a join that hangs keeps nobody back."""
    monkeypatch.setattr("agency.agent.rooms.listening._JOIN_S", 0.1)
    asked: list[str] = []
    request: Callable[..., Any] = desk.api.request

    async def noting(method: str, path: str, *more: Any, **most: Any) -> dict[str, Any]:
        asked.append("join" if "join" in path else "sync")
        if "join" in path and hangs:
            await asyncio.Event().wait()
        if asked.count("sync") > 1:
            await asyncio.Event().wait()
        found: dict[str, Any] = await request(method, path, *more, **most)
        return found

    desk.api.request = noting  # type: ignore[method-assign]
    desk.api.answers["sync"] = {"next_batch": "s2", "rooms": {"invite": {FAR: {}}}}
    running = asyncio.create_task(desk.retrying.run())
    listening = asyncio.create_task(desk.listener.listen())
    async with asyncio.timeout(20):
        while asked.count("sync") < 2:  # noqa: ASYNC110 - of another task
            await asyncio.sleep(0.01)
    await ended(running, listening)
    assert asked == ["sync", "join", "sync"]
    assert len(desk.listener.later()) == hangs
