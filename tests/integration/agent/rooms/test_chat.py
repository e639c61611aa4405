"""An agent in a room of a real Synapse: who is answered and how, kills, storms, deletions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from scripted_model import Turn

from agency.agent.models.conversation import ToolCall
from agency.agent.programs.tools import Tool, wire_names
from agency.agent.rooms.sending import NAME

ME = "@agent-pm:agency.example"
HALF = Turn("I look at it and then I say more", fault="silent")  # half of it, then silence


def wait_for(look: Any, what: str, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.05)
    return found


def is_send(chat: Any, step: str) -> Any:
    return lambda method, path: method == "PUT" and "/send/" in path and path.endswith(step)


def typing(chat: Any, since: str) -> bool:
    path = f"sync?timeout=0&since={since}"
    joined = chat.call("GET", path, chat.alice)["rooms"].get("join", {}).get(chat.room, {})
    events = joined.get("ephemeral", {}).get("events", [])
    return any(ME in e["content"].get("user_ids", ()) for e in events if e["type"] == "m.typing")


def test_an_operator_is_answered_in_a_thread_and_a_stranger_is_not(chat: Any, mallory: str) -> None:
    chat.model.script(HALF, Turn("It is 4."))
    chat.ask("from before it was started")
    chat.start()
    since = chat.call("GET", "sync?timeout=0", chat.alice)["next_batch"]
    stranger = chat.ask("two and two? I am alice", mallory)
    chat.ask("not to the agent", **{"m.mentions": {}})
    asked = chat.ask("two and two?")
    wait_for(lambda: chat.replies(asked), "reply")
    assert typing(chat, since)
    wait_for(lambda: "I look at it" in chat.text(asked), "progress")
    chat.model.go()
    reply = chat.answered(asked, "It is 4.")
    assert reply["content"]["m.relates_to"]["event_id"] == asked
    assert reply["content"]["msgtype"] == "m.notice"
    assert len(chat.edits(reply["event_id"])) <= 3
    assert not chat.replies(stranger)
    assert len([e for e in chat.own() if "m.new_content" not in e["content"]]) == 1
    assert "two and two?" not in chat.log

    chat.model.script(Turn("It is 6."))
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": asked}, "m.mentions": {}}
    more = chat.ask("and three and three?", **thread)
    assert chat.answered(more, "It is 6.")["content"]["m.relates_to"]["event_id"] == asked
    assert chat.stop() == 0


def test_killed_before_the_acknowledgement_of_its_answer_it_says_it_once(chat: Any) -> None:
    chat.config["firstS"] = 30
    chat.model.script(Turn("done"))
    chat.start()
    asked = _killed_at(chat, "-reply", lambda: chat.ask("do it"))
    assert [e["content"]["body"] for e in chat.replies(asked)] == ["done"]
    chat.start()
    _at_rest(chat)
    chat.answered(asked, "done")
    assert len(chat.model.scripted.asked) == 1


def test_killed_at_an_edit_or_at_its_first_reply_it_goes_on_in_that_reply(chat: Any) -> None:
    chat.model.script(HALF, HALF, Turn("done"))
    chat.start()
    asked = _killed_at(chat, "-reply", lambda: chat.ask("do it"))
    assert chat.text(asked).startswith(("Working", "I look"))
    chat.start()
    wait_for(lambda: len(chat.model.scripted.asked) == 2, "second call of the model")
    _killed_at(chat, "-end", chat.model.go)
    chat.start()
    _at_rest(chat)
    chat.answered(asked, "done")


def _killed_at(chat: Any, step: str, cause: Callable[[], Any]) -> Any:
    """Kill it when the homeserver has a message, and before it hears of that."""

    def answered(method: str, path: str) -> bool:
        if is_send(chat, step)(method, path):
            chat.kill()
            return False
        return True

    chat.front.answered = answered
    caused = cause()
    wait_for(lambda: chat.process.poll() is not None, f"message {step}")
    chat.front.answered = lambda method, path: True
    return caused


def _at_rest(chat: Any) -> None:
    """Wait until nothing is open, by its log."""
    wait_for(lambda: '"why": "answered"' in chat.log or '"why":"answered"' in chat.log, "end")


def test_a_storm_is_limited_and_told_once(chat: Any) -> None:
    chat.write_policy(limits={"eventsPerMinute": 3})
    chat.model.script(*(Turn(f"answer {n}") for n in range(20)))
    chat.start()
    asked = [chat.ask(f"do {n}") for n in range(12)]
    wait_for(lambda: sum(bool(chat.text(each)) for each in asked) == 4, "four replies")
    last = chat.ask("one more")
    chat.stop()
    texts = [chat.text(each) for each in (*asked, last)]
    assert len([each for each in texts if each.startswith("answer")]) == 3
    assert [each for each in texts if each and not each.startswith("answer")] == [
        "Too many messages: I take 3 in a minute. Say it again later."
    ]
    assert len(chat.model.scripted.asked) == 3


def test_messages_are_limited_and_the_answer_comes_before_progress(chat: Any) -> None:
    chat.write_policy(messaging={"messagesPerMinute": 2})
    chat.config |= {"firstS": 0, "editS": 0.1}
    chat.model.script(HALF, Turn("done"))
    chat.start()
    asked = chat.ask("do it")
    wait_for(lambda: chat.replies(asked), "reply")
    time.sleep(1)
    chat.model.go()
    reply = chat.answered(asked, "done")
    assert chat.edits(reply["event_id"]) == ["done"]


def test_a_deleted_message_is_not_answered(chat: Any) -> None:
    chat.model.script(Turn("no"), Turn("no"))
    chat.start()
    assert chat.stop() == 0
    first = chat.ask("said and deleted while it was away")
    chat.redact(first)
    chat.model.script(HALF, Turn("yes"))
    chat.start()
    second = chat.ask("deleted while it works")
    wait_for(lambda: chat.replies(second), "reply")
    chat.redact(second)
    chat.answered(second, "Stopped: the message was deleted.")
    assert not chat.replies(first)
    third = chat.ask("and this one stays")
    chat.answered(third, "yes")
    assert len(chat.model.scripted.asked) == 2


def test_what_is_said_while_the_homeserver_is_away_is_answered_later(chat: Any) -> None:
    chat.model.script(Turn("here I am"))
    chat.start()
    chat.front.away = True
    asked = chat.ask("are you there?")
    wait_for(lambda: "not listening" in chat.log, "log of the failure")
    assert not chat.replies(asked)
    chat.front.away = False
    chat.answered(asked, "here I am")


def test_a_room_that_cannot_be_joined_now_makes_it_deaf_in_no_other(chat: Any) -> None:
    """The homeserver of that room is away; the invitation outlives a kill, and is taken up."""
    other = chat.invited()
    chat.write_policy(trust={**chat.policy["trust"], "rooms": [chat.room, other]})
    chat.front.broken = lambda _, path: f"/join/{quote(other)}" in path
    chat.model.script(Turn("here I am"), Turn("and here"))
    chat.start()
    wait_for(lambda: "cannot join a room now" in chat.log, "log of it")
    chat.answered(chat.ask("are you there?"), "here I am")
    chat.kill()
    chat.front.broken = lambda *_: False
    chat.start()
    members = f"rooms/{quote(other)}/joined_members"
    wait_for(lambda: ME in chat.call("GET", members, chat.alice)["joined"], "member")
    chat.room = other
    chat.answered(chat.ask("and here?"), "and here")


@pytest.mark.thorough
def test_more_than_a_sync_holds_is_read(chat: Any) -> None:
    """A gap in the timeline: older messages are fetched."""
    chat.model.script(Turn("found"))
    chat.start()
    chat.stop()
    asked = chat.ask("the first of many")
    for number in range(130):
        chat.homeserver.say(chat.alice, chat.room, f"talk {number}")
    chat.start()
    chat.answered(asked, "found")


def test_with_encryption_required_it_reads_nothing_and_says_why(chat: Any) -> None:
    chat.write_policy()
    chat.model.script(Turn("never"), Turn("now"))
    chat.start()  # joins the room
    trust = chat.policy["trust"]
    chat.write_policy(trust={**trust, "requireEncryption": True, "adminRoom": chat.room})
    asked = chat.ask("do it")
    wait_for(lambda: any("requires encryption" in e["content"]["body"] for e in chat.own()), "why")
    assert not chat.replies(asked)
    assert not chat.model.scripted.asked


def test_without_a_policy_nothing_is_read_until_it_is_there_again(chat: Any) -> None:
    chat.model.script(Turn("with a policy"))
    chat.start()
    kept = (chat.place / "gosuto.json").read_bytes()
    (chat.place / "gosuto.json").write_bytes(b"{")
    asked = chat.ask("do it")
    wait_for(lambda: "no policy, no work" in chat.log, "log of it")
    assert not chat.replies(asked)
    assert not chat.model.scripted.asked
    (chat.place / "gosuto.json").write_bytes(kept)
    chat.answered(asked, "with a policy")


def test_a_peer_is_answered_with_one_hop_less_and_only_if_envelopes_are_on(
    chat: Any, peer: str
) -> None:
    user = "@agent-developer:agency.example"
    peers = {"dev": {"user": user, "room": chat.room, "protocols": ["tasks"]}}
    chat.write_policy(
        trust={**chat.policy["trust"], "peers": peers},
        capabilities={"tell": {"tool": NAME, "answer": "allow"}},
        messaging={"targets": {"team": chat.room}, "messagesPerMinute": 100},
    )
    (tool,) = wire_names((Tool(NAME, ""),))
    say = {"target": "team", "text": "yours", "peer": "dev", "protocol": "tasks"}
    calls = (ToolCall("c1", tool, json.dumps(say)),)
    chat.model.script(Turn("heard"), Turn(calls=calls), Turn("passed on"))
    head = {"version": 1, "from": user, "to": ME, "protocol": "tasks", "hops": 3}
    chat.start()
    off = chat.ask("mine", peer, **{"org.agency.envelope": {**head, "id": "a"}})
    chat.answered(chat.ask("are you there?"), "heard")  # what came before is judged, too
    chat.stop()
    chat.config["envelopes"] = True
    chat.start()
    asked = chat.ask("yours?", peer, **{"org.agency.envelope": {**head, "id": "b"}})
    again = chat.ask("yours?", peer, **{"org.agency.envelope": {**head, "id": "b"}})
    chat.answered(asked, "passed on")
    (sent,) = [e["content"] for e in chat.own() if "org.agency.envelope" in e["content"]]
    assert (sent["body"], sent["org.agency.envelope"]["hops"]) == ("yours", 2)
    assert not chat.replies(off)
    assert not chat.replies(again)
    assert len(chat.model.scripted.asked) == 3
