"""The control room is upgraded: its successor is followed, and no other room."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

ALICE, MALLORY = "@alice:agency.example", "@mallory:agency.example"
BOT = "@agency:agency.example"
ALIAS = quote("#control:agency.example")
THOROUGH = pytest.mark.thorough


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("11", "12"),
        *(pytest.param(*each, marks=THOROUGH) for each in (("10", "11"), ("12", "12"))),
    ],
)
def test_successor_is_followed(
    control: Any,
    admin: Any,
    alice: str,
    homeserver: Any,
    room_class: Any,
    wait_for: Any,
    before: str,
    after: str,
) -> None:
    old = admin.make_room(before)
    control.start()
    admin.call("POST", f"join/{old}", token=alice)
    new = admin.call("POST", f"rooms/{old}/upgrade", {"new_version": after})["replacement_room"]
    wait_for(lambda: admin.membership(new, ALICE) == "invite", "invitation to the new room")
    wait_for(lambda: admin.membership(new, "@agent-pm:agency.example") == "join", "agent in it")
    admin.call("POST", f"join/{new}", token=alice)
    room = room_class(homeserver, new, alice)
    assert room.ask("!agency ping")["org.agency.reply"]["ok"] is True
    assert admin.powers(new)[ALICE] == 50
    for _ in range(2):
        moved = room_class(homeserver, old, alice)
        levels = {**admin.state(old, "m.room.power_levels"), "events_default": 0}
        admin.set_state(old, "m.room.power_levels", levels)
        answer = moved.ask("!agency agents start pm")
        assert answer["org.agency.reply"]["ok"] is False, answer["body"]
        assert new in answer["body"]
        assert control.stop() == 0
        control.start()
    assert "0 of 2 agents run." in room.ask("!agency agents list")["body"]


@pytest.mark.parametrize("trick", ["claims", "tombstone", pytest.param("alias", marks=THOROUGH)])
def test_room_of_a_stranger_does_not_take_over(
    control: Any, admin: Any, alice: str, homeserver: Any, room_class: Any, codes: Any, trick: str
) -> None:
    mallory = str(homeserver.create_user(f"mallory-{trick}"))
    old = admin.make_room("11")
    control.start()
    admin.call("POST", f"join/{old}", token=alice)
    body = {
        "preset": "public_chat",
        "creation_content": {"predecessor": {"room_id": old, "event_id": "$x"}},
        "invite": [BOT],
    }
    evil = admin.call("POST", "createRoom", body, token=mallory)["room_id"]
    if trick != "claims":
        admin.set_state(old, "m.room.tombstone", {"replacement_room": evil, "body": "x"})
    if trick == "alias":
        admin.call("DELETE", f"directory/room/{ALIAS}")
        admin.call("PUT", f"directory/room/{ALIAS}", {"room_id": evil})
    time.sleep(4)
    room = room_class(homeserver, old, alice)
    assert room.ask("!agency ping")["org.agency.reply"]["ok"] is True
    now = admin.membership(evil, BOT, token=mallory)
    assert now != "join"
    assert trick == "alias" or now == "invite", "it did not even go in to look"
    assert ("room-replaced" in codes()) is (trick != "claims")
    said = homeserver.say(mallory, evil, "!agency ping")
    time.sleep(1)
    assert room_class(homeserver, evil, mallory).replies(said) == []
