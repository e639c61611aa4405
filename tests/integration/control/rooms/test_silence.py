"""A bot that cannot answer takes no changes from the room until that is mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from entering import command, socket_of

ALICE, CAROL = "@alice:agency.example", "@carol:agency.example"
BOT, PM = "@agency:agency.example", "@agent-pm:agency.example"
START = "!agency agents start pm"
THOROUGH = pytest.mark.thorough


def refused(control: Any, event_id: str) -> dict[str, Any] | None:
    """The audit row by which a command was refused because it could not be answered."""
    rows = [row for row in control.audit() if event_id in str(row["detail"])]
    found = [row for row in rows if "cannot-answer" in str(row["detail"])]
    assert not [row for row in rows if row["outcome"] == "accepted"], rows
    return found[0] if found else None


def running(control: Any) -> list[Any]:
    return list(control.query("SELECT name FROM agents WHERE observed = 'running'"))


@pytest.fixture
def joined(
    control: Any, admin: Any, alice: str, homeserver: Any, room_class: Any
) -> Callable[[str], Any]:
    """Makes a control room of some version, starts the control plane, and joins the operator."""

    def joined(version: str) -> Any:
        room_id = admin.make_room(version)
        control.start()
        admin.call("POST", f"join/{room_id}", token=alice)
        room = room_class(homeserver, room_id, alice)
        assert room.ask(START)["org.agency.reply"]["ok"] is True, "positive control"
        assert room.ask("!agency agents stop pm")["org.agency.reply"]["ok"] is True
        return room

    return joined


def set_levels(admin: Any, room: Any, token: str, users: dict[str, int], **more: Any) -> None:
    levels = admin.state(room.room_id, "m.room.power_levels", token=token)
    changed = {**levels, "users": {**levels["users"], **users}, **more}
    admin.set_state(room.room_id, "m.room.power_levels", changed, token=token)


def depose(admin: Any, room: Any, **more: Any) -> None:
    """Take the bot's power, as its own user: nobody else can in a room of this version."""
    bot = admin.homeserver.as_token
    set_levels(admin, room, bot, {ALICE: 100, BOT: 0}, **more)


def mute(admin: Any, room: Any) -> None:
    depose(admin, room, events_default=50)


def unmute(admin: Any, room: Any) -> None:
    set_levels(admin, room, room.token, {BOT: 100})


def kick(admin: Any, room: Any) -> None:
    depose(admin, room)
    admin.call("POST", f"rooms/{room.room_id}/kick", {"user_id": BOT}, token=room.token)


def ban(admin: Any, room: Any) -> None:
    depose(admin, room)
    admin.call("POST", f"rooms/{room.room_id}/ban", {"user_id": BOT}, token=room.token)


def invite(admin: Any, room: Any) -> None:
    unmute(admin, room)
    admin.invite(room.room_id, BOT, token=room.token)


def unban(admin: Any, room: Any) -> None:
    admin.call("POST", f"rooms/{room.room_id}/unban", {"user_id": BOT}, token=room.token)
    invite(admin, room)


@pytest.mark.parametrize(
    ("silence", "mend"),
    [
        (mute, unmute),
        *(pytest.param(*each, marks=THOROUGH) for each in ((kick, invite), (ban, unban))),
    ],
)
def test_silenced_bot_changes_nothing_until_that_is_mended(
    joined: Any, control: Any, admin: Any, wait_for: Any, codes: Any, silence: Any, mend: Any
) -> None:
    room = joined("10")
    silence(admin, room)
    said = room.say(START)
    row = wait_for(lambda: refused(control, said), "refusal in the audit log")
    assert row["outcome"] == "refused"
    assert running(control) == []
    wait_for(lambda: {"bot-silenced", "room-lost"} & {*codes()}, "condition")
    mend(admin, room)
    pings = []

    def answers() -> bool:
        pings.append(room.say("!agency ping"))
        time.sleep(0.25)
        return any(map(room.replies, pings))

    wait_for(answers, "answer after the mending", 60)
    assert room.ask(START)["org.agency.reply"]["ok"] is True
    assert control.verify() == 0


@pytest.mark.parametrize(
    ("silence", "restarted"),
    [
        (mute, True),
        (kick, False),
        *(
            pytest.param(silence, restarted, marks=THOROUGH)
            for silence, restarted in ((mute, False), (kick, True), (ban, False), (ban, True))
        ),
    ],
)
def test_the_machine_still_stops_agents_while_the_bot_is_silenced(
    joined: Any, control: Any, admin: Any, wait_for: Any, silence: Any, restarted: bool
) -> None:
    """Also when the control plane starts meanwhile, and waits for its room."""
    room = joined("10")
    assert room.ask(START)["org.agency.reply"]["ok"] is True
    assert running(control) == [("pm",)]
    silence(admin, room)
    if restarted:
        control.stop()
        control.launch()
        wait_for(control.accepts, "control plane")
    said = room.say("!agency agents stop pm")
    if not restarted or silence is mute:  # else the message waits until there is a room
        wait_for(lambda: refused(control, said), "positive control: a refusal in the audit log")
        assert running(control) == [("pm",)], "the room's command is refused"
    status, told = command(socket_of(control), "agents", "stop", "pm", id="stop")
    assert (status, told["outcome"]) == (0, "done"), told
    assert running(control) == []
    rows = [row for row in control.audit() if '"cause":"cli"' in row["detail"].replace(" ", "")]
    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("agents stop", "accepted"),
        ("agents stop", "done"),
    ]
    assert control.verify() == 0


def test_encrypted_room_stops_changes_and_looks_are_answered(
    joined: Any, control: Any, admin: Any
) -> None:
    room = joined("12")
    admin.set_state(room.room_id, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    said = room.say(START)
    reply = room.reply(said)["content"]
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert "is encrypted" in reply["body"]
    assert refused(control, said) is not None
    assert room.ask("!agency ping")["org.agency.reply"]["ok"] is True
    assert running(control) == []


@pytest.mark.parametrize("restarted", [False, pytest.param(True, marks=THOROUGH)])
def test_bot_comes_back_on_an_operators_invitation_and_no_other(
    joined: Any, control: Any, admin: Any, carol: str, wait_for: Any, restarted: bool
) -> None:
    room = joined("10")
    admin.invite(room.room_id, CAROL, token=room.token)
    admin.call("POST", f"join/{room.room_id}", token=carol)
    depose(admin, room)  # or it would take back the power that they get here
    set_levels(admin, room, room.token, {CAROL: 50, PM: 50})
    admin.call("POST", f"rooms/{room.room_id}/leave")
    if restarted:
        control.stop()
        control.launch()
        wait_for(control.accepts, "control plane")
    path, invite = f"rooms/{room.room_id}/invite", {"user_id": BOT}
    admin.call("POST", path, invite, token=carol)
    time.sleep(2)
    assert admin.membership(room.room_id, BOT, token=room.token) == "invite"
    # And by a member of ours who is no operator:
    admin.call("POST", f"rooms/{room.room_id}/leave")
    admin.call("POST", f"{path}?user_id={quote(PM)}", invite)
    time.sleep(2)
    assert admin.membership(room.room_id, BOT, token=room.token) == "invite"
    admin.invite(room.room_id, BOT, token=room.token)
    wait_for(
        lambda: admin.membership(room.room_id, BOT, token=room.token) == "join", "bot in the room"
    )
    assert room.ask("!agency ping")["org.agency.reply"]["ok"] is True
