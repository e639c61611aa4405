"""Commands in a real room of a real Synapse."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any
from urllib.parse import quote

import pytest

REPLY_KEY = "org.agency.reply"


@pytest.fixture(scope="module")
def eve(homeserver: Any) -> str:
    """The access token of somebody who is no operator."""
    return str(homeserver.create_user("eve"))


def join_as(room: Any, homeserver: Any, user: str, token: str) -> Any:
    """The control room as somebody sees it whom the operator invites."""
    path = f"/_matrix/client/v3/rooms/{room.room_id}/invite"
    homeserver.request("POST", path, room.token, {"user_id": user})
    homeserver.request("POST", f"/_matrix/client/v3/join/{room.room_id}", token, {})
    return type(room)(homeserver, room.room_id, token)


def send(room: Any, content: dict[str, Any], kind: str = "m.room.message") -> str:
    """Send an event of any content; returns its id."""
    path = f"/_matrix/client/v3/rooms/{room.room_id}/send/{kind}/x{time.monotonic_ns()}"
    answer = room.homeserver.request("PUT", path, room.token, content)
    answer.raise_for_status()
    return str(answer.json()["event_id"])


def outcomes(control: Any, trace: str) -> list[str]:
    return [row["outcome"] for row in control.audit() if row["trace"] == trace]


def trace(reply: dict[str, Any]) -> str:
    return str(reply["org.agency.reply"]["trace"])


def test_invited_operator_is_answered_in_a_thread(room: Any) -> None:
    event_id = room.say("!agency ping")
    reply = room.reply(event_id)
    content = reply["content"]
    assert reply["sender"] == "@agency:agency.example"
    assert content["msgtype"] == "m.notice"
    assert content["body"].startswith("pong")
    assert content["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": event_id,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": event_id},
    }
    answered = content["org.agency.reply"]
    assert (answered["command"], answered["ok"], answered["final"]) == (event_id, True, True)


def test_agent_is_started_asked_restarted_and_stopped(room: Any, control: Any) -> None:
    started = room.ask('!start-agent pm --project="new app"')
    assert started["org.agency.reply"]["ok"] is True, started["body"]
    assert "the project new app" in started["body"]
    status = room.ask("!agent-status pm")["body"]
    assert "pm: running" in status
    assert "new app" in status
    pid = control.pid_of("pm")
    os.kill(pid, 0)
    again = room.ask("!agency agents start pm")["body"]
    assert again == f"pm already runs, with the project new app (pid {pid})."
    assert "new app" in room.ask("!agency agents restart pm")["body"]
    other = control.pid_of("pm")
    assert other != pid
    listed = room.ask("!list-agents")["body"]
    assert "1 of 2 agents run." in listed
    assert room.ask("!stop-agent pm")["body"] == "pm is stopped."
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)
    assert outcomes(control, trace(started)) == ["accepted", "done"]
    assert control.verify() == 0


def test_end_of_an_agents_log_is_shown_and_its_status_counts(room: Any, control: Any) -> None:
    assert room.ask("!agency agents logs pm")["body"] == "pm has written nothing yet."
    room.ask("!start-agent pm")
    status = str(room.ask("!agency agents status pm")["body"])
    assert re.search(r"^memory +[0-9.]+ MiB$", status, re.MULTILINE), status
    assert re.search(r"^processor time +[0-9.]+ s$", status, re.MULTILINE), status
    logs = room.ask("!agency agents logs pm --lines=1")
    assert logs["body"].startswith("The last line of pm's log:\n\n    {")
    assert "&quot;message&quot;" in logs["formatted_body"]
    log = control.place / "state" / "agents" / "pm" / "log"
    with log.open("a") as more:
        more.write(f"as {(control.credentials / 'matrix-as-token').read_text()}\n")
        more.write(f"acp {(log.parent / 'credentials' / 'acp-token').read_text()} </code>\n")
    logs = room.ask("!agency agents logs pm --lines=2")
    assert logs["body"].splitlines()[2:] == ["    as [***]", "    acp [***] </code>"]
    assert outcomes(control, trace(logs)) == ["done"]
    for wrong in ("pn", "pm --lines=101"):
        refused = room.ask(f"!agency agents logs {wrong}")
        assert refused["org.agency.reply"]["ok"] is False, refused["body"]
        assert outcomes(control, trace(refused)) == ["refused"]


def test_agent_that_died_is_shown_as_failed(room: Any, control: Any, wait_for: Any) -> None:
    room.ask("!start-agent developer")
    pid = control.pid_of("developer")
    os.kill(pid, 9)

    def failed() -> str | None:
        body = str(room.ask("!agency agents status developer")["body"])
        return body if "failed" in body else None

    assert "ended by SIGKILL" in wait_for(failed, "failure")
    assert "failed (ended by SIGKILL" in room.ask("!agency agents list")["body"]


def test_agent_whose_port_is_taken_does_not_start(room: Any, control: Any) -> None:
    port = next(agent["port"] for agent in control.config["agents"] if agent["name"] == "pm")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        reply = room.ask("!start-agent pm")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert "the port is taken" in reply["body"]
    assert outcomes(control, trace(reply)) == ["accepted", "failed"]
    assert room.ask("!start-agent pm")["org.agency.reply"]["ok"] is True


def test_somebody_who_is_no_operator_is_refused(
    room: Any, control: Any, homeserver: Any, eve: str
) -> None:
    stranger = join_as(room, homeserver, "@eve:agency.example", eve)
    refused = stranger.ask("!start-agent pm")
    assert refused["org.agency.reply"]["ok"] is False, refused["body"]
    assert "@eve:agency.example is not an operator" in refused["body"]
    assert outcomes(control, trace(refused)) == ["refused"]
    assert "0 of 2 agents run" in room.ask("!agency agents list")["body"]


def test_edited_command_is_refused(room: Any, control: Any) -> None:
    said = room.say("hello")
    edit = send(
        room,
        {
            "msgtype": "m.text",
            "body": "* !start-agent pm",
            "m.new_content": {"msgtype": "m.text", "body": "!start-agent pm"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": said},
        },
    )
    reply = room.reply(edit)["content"]
    assert reply["body"].startswith("Edited messages are not run.")
    assert outcomes(control, trace(reply)) == ["refused"]
    assert room.replies(said) == []


def test_encrypted_message_is_answered(room: Any, control: Any) -> None:
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"}
    event_id = send(room, content, "m.room.encrypted")
    reply = room.reply(event_id)["content"]
    assert "must not be encrypted" in reply["body"]
    assert outcomes(control, trace(reply)) == ["refused"]


def test_command_inside_a_thread_is_answered_there(room: Any) -> None:
    root = room.say("let us talk about agents")
    relation = {"rel_type": "m.thread", "event_id": root}
    said = send(room, {"msgtype": "m.text", "body": "!agency ping", "m.relates_to": relation})
    content = room.reply(said)["content"]
    assert content["m.relates_to"]["event_id"] == root
    assert content["m.relates_to"]["m.in_reply_to"] == {"event_id": said}


def test_notice_and_chat_are_not_answered(room: Any, control: Any) -> None:
    notice = send(room, {"msgtype": "m.notice", "body": "!agency ping"})
    chat = room.say("is anybody here?")
    assert room.ask("!agency version")["org.agency.reply"]["ok"] is True
    assert room.replies(notice) == room.replies(chat) == []
    assert [row["outcome"] for row in control.audit()][1:] == ["ignored", "done"]


def test_other_room_is_not_obeyed(room: Any, control: Any, homeserver: Any, wait_for: Any) -> None:
    made = homeserver.request(
        "POST",
        "/_matrix/client/v3/createRoom",
        room.token,
        {"preset": "private_chat", "invite": ["@agent-pm:agency.example"]},
    )
    other = type(room)(homeserver, made.json()["room_id"], room.token)
    # The homeserver passes on every room that a user of ours is in or invited to.
    homeserver.request(
        "POST",
        f"/_matrix/client/v3/join/{other.room_id}?user_id=@agent-pm:agency.example",
        homeserver.as_token,
        {},
    ).raise_for_status()
    said = other.say("!start-agent pm")
    wait_for(
        lambda: [row for row in control.audit() if row["outcome"] == "ignored"], "audited command"
    )
    assert "0 of 2 agents run" in room.ask("!agency agents list")["body"]
    assert other.replies(said) == []


def test_replayed_transaction_changes_nothing(room: Any, control: Any, homeserver: Any) -> None:
    said = room.say("!agency agents restart pm")
    room.reply(said)
    path = f"/_matrix/client/v3/rooms/{room.room_id}/event/{said}"
    event = homeserver.request("GET", path, room.token).json()
    before = (control.query("SELECT handle FROM agents WHERE name = 'pm'"), len(control.audit()))
    for txn in ("replay-1", "replay-1", "replay-2"):
        assert control.deliver([event], txn=txn).status_code == 200
    room.ask("!agency ping")
    after = (control.query("SELECT handle FROM agents WHERE name = 'pm'"), len(control.audit()) - 1)
    assert after == before
    assert len(room.replies(said)) == 1


def test_command_said_while_the_control_plane_was_away_is_run_when_it_is_back(
    room: Any, control: Any
) -> None:
    room.ask("!agency ping")
    assert control.stop() == 0
    said = [room.say("!agency ping"), room.say("!agency version")]
    control.start()
    bodies = [room.reply(event_id)["content"]["body"] for event_id in said]
    assert bodies[0].startswith("pong")
    assert bodies[1].startswith("agency ")
    assert [row["action"] for row in control.audit()][1:] == ["ping", "ping", "version"]


def test_help_and_mistakes(room: Any) -> None:
    assert "agents start" in room.ask("!agency help")["body"]
    mistake = room.ask("!start-agentx pm")
    assert mistake["org.agency.reply"]["ok"] is False, mistake["body"]
    assert "!start-agentx pm\n^^^^" in mistake["body"]
    unknown = room.ask("!start-agent developr")
    assert "did you mean developer?" in unknown["body"]


def test_audit_can_be_read_in_the_room(room: Any) -> None:
    reply = room.ask("!agency ping")
    assert trace(reply) in room.ask("!agency audit tail 5")["body"]
    assert "@alice:agency.example" in room.ask(f"!agency trace {trace(reply)}")["body"]


def test_ready_shows_the_path_and_the_head_of_the_audit_log(room: Any, control: Any) -> None:
    room.ask("!agency ping")
    body = control.ready(10).json()
    last = control.audit()[-1]
    assert body["audit"] == {"count": last["sequence"], "hash": last["hash"]}
    assert body["homeserver"]["user"] == "@agency:agency.example"
    assert body["homeserver"]["ping_ms"] >= 0
    assert body["room"] == {"id": room.room_id, "joined": True, "encrypted": False}
    assert set(body["versions"]) == {"agency", "python", "schema"}
    assert body["last_transaction_age_s"] < 60


def test_room_is_by_invitation_and_its_rules_are_the_bots(room: Any, homeserver: Any) -> None:
    path = f"/_matrix/client/v3/rooms/{room.room_id}/state"
    state = {e["type"]: e for e in homeserver.request("GET", path, room.token).json()}
    assert state["m.room.join_rules"]["content"]["join_rule"] == "invite"
    assert "m.room.encryption" not in state
    assert state["m.room.create"]["sender"] == "@agency:agency.example"
    levels = state["m.room.power_levels"]["content"]
    assert levels["users"]["@alice:agency.example"] == 50
    assert levels["state_default"] == 100
    encrypt = homeserver.request(
        "PUT", f"{path}/m.room.encryption", room.token, {"algorithm": "m.megolm.v1.aes-sha2"}
    )
    assert encrypt.status_code == 403


def test_banned_agent_is_a_warning_that_heals(
    room: Any, control: Any, homeserver: Any, wait_for: Any
) -> None:
    agent = "@agent-pm:agency.example"
    path = f"/_matrix/client/v3/rooms/{room.room_id}"
    ban = {"user_id": agent, "reason": "too noisy"}
    assert homeserver.request("POST", f"{path}/ban", room.token, ban).status_code == 200
    assert control.stop() == 0
    (warning,) = control.start()["warnings"]
    assert (warning["code"], warning["subject"]) == ("agent-absent", agent)
    assert warning["hint"] == f"unban {agent} in the control room"
    assert "pong" in room.ask("!agency ping")["body"]
    assert agent in room.ask("!agency warnings list")["body"]

    def notices() -> list[str]:
        events = homeserver.messages(room.token, room.room_id)
        contents = [event["content"] for event in events if REPLY_KEY not in event["content"]]
        bodies = [str(content.get("body", "")) for content in contents]
        return [body for body in bodies if body.startswith(("Degraded", "Mended"))]

    # What is over at once is not said.
    wait_for(lambda: len(notices()) == 1, "a notice", 20)
    unban = homeserver.request("POST", f"{path}/unban", room.token, {"user_id": agent})
    assert unban.status_code == 200
    wait_for(lambda: control.ready(10).json()["warnings"] == [], "healed room", 60)

    wait_for(lambda: len(notices()) == 2, "two notices", 20)
    assert sorted(each.split(":")[0] for each in notices()) == ["Degraded", "Mended"]


def test_alias_that_was_deleted_is_given_back(
    room: Any, control: Any, homeserver: Any, credentials_of_the_bot: str
) -> None:
    alias = f"/_matrix/client/v3/directory/room/{quote(control.config['control_room_alias'])}"
    gone = homeserver.request("DELETE", alias, credentials_of_the_bot)
    assert gone.status_code == 200, gone.text
    assert control.stop() == 0
    body = control.start()
    assert (body["warnings"], body["room"]["id"]) == ([], room.room_id)
    found = homeserver.request("GET", alias, room.token)
    assert found.json()["room_id"] == room.room_id


@pytest.fixture
def credentials_of_the_bot(homeserver: Any) -> str:
    """The application service's own token."""
    return str((homeserver.credentials / "matrix-as-token").read_text().strip())
