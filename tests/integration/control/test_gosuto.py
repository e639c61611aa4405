"""An agent's Gosuto, changed by people in a real room of a real Synapse, through kill -9."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import killing
import pytest
import requests
from entering import command, socket_of
from gosutos import filled

from agency.gosuto import as_yaml
from agency.gosuto import sha256 as sha256_of

REPLY_KEY = "org.agency.reply"
MAKE = (
    "!agency gosuto set pm --template cron-agent room=!ops:agency.example "
    'operator=@alice:agency.example "task=Sum it up" "schedule=0 7 * * 1-5"'
)
TOOL = "!agency gosuto explain pm builtin/send-message"


class Pair:
    """Alice and Bob, both operators: what one asks for, the other approves."""

    def __init__(self, homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> None:
        self.control, self.wait_for, self.homeserver = control, wait_for, homeserver
        control.config["operators"] = ["@alice:agency.example", "@bob:agency.example"]
        control.start()
        self.room_id = control.ready().json()["room"]["id"]
        self.rooms = {}
        for name in ("alice", "bob"):
            if name not in TOKENS:
                TOKENS[name] = homeserver.create_user(name)
            path = f"/_matrix/client/v3/join/{self.room_id}"
            assert homeserver.request("POST", path, TOKENS[name], {}).status_code == 200
            self.rooms[name] = room_class(homeserver, self.room_id, TOKENS[name])

    def asked(self, text: str, by: str) -> tuple[str, str]:
        """Ask for a change; return its event and the prompt."""
        event = self.rooms[by].say(text)
        body = str(self.rooms[by].reply(event)["content"]["body"])
        assert "needs an approval, by the rule gosuto-changes" in body, body
        return event, body

    def final(self, event: str, by: str) -> str:
        def look() -> str | None:
            replies = self.rooms[by].replies(event)
            ends = [each for each in replies if each["content"][REPLY_KEY]["final"]]
            return str(ends[0]["content"]["body"]) if ends else None

        return str(self.wait_for(look, f"final reply to {event}"))

    def upload(self, content: bytes, by: str) -> str:
        """Put a file into the homeserver's repository; return its address."""
        answer = requests.post(
            f"{self.homeserver.url}/_matrix/media/v3/upload",
            data=content,
            headers={"Authorization": f"Bearer {TOKENS[by]}", "Content-Type": "text/yaml"},
            timeout=30,
        )
        return str(answer.json()["content_uri"])

    def approve(self, prompt: str, by: str) -> None:
        said = self.rooms[by].ask(f"approve {prompt.split()[1][:9]}")
        assert said[REPLY_KEY]["ok"] is True, said["body"]

    def change(self, text: str, by: str = "alice", other: str = "bob") -> str:
        event, prompt = self.asked(text, by)
        self.approve(prompt, other)
        return self.final(event, by)


TOKENS: dict[str, str] = {}


@pytest.fixture
def pair(homeserver: Any, control: Any, room_class: Any, wait_for: Any) -> Pair:
    return Pair(homeserver, control, room_class, wait_for)


def test_a_policy_is_changed_by_two_people_and_by_chat_alone(pair: Pair) -> None:
    alice, bob = pair.rooms["alice"], pair.rooms["bob"]
    event, prompt = pair.asked(MAKE, "alice")
    assert '+ gateways.timer.schedule: "0 7 * * 1-5"' in prompt
    pair.approve(prompt, "bob")
    assert pair.final(event, "alice").startswith("pm has version 1 of its Gosuto")
    assert "allow, by the rule write-to-room" in bob.ask(f"{TOOL} target=reports")["body"]

    # Both are planned on version 1; the second to be approved would undo what it never saw.
    first, its_prompt = pair.asked("!agency gosuto set pm capabilities.write-to-room=", "alice")
    second, other_prompt = pair.asked("!agency gosuto set pm limits.eventsPerMinute=3", "bob")
    assert '- capabilities.write-to-room.answer: "allow"' in its_prompt
    assert "~ limits.eventsPerMinute: 10 -> 3" in other_prompt
    pair.approve(its_prompt, "bob")
    assert "version 2" in pair.final(first, "alice")
    pair.approve(other_prompt, "alice")
    assert "is not as it was when the approval was asked for" in pair.final(second, "bob")
    assert "deny: no rule allows it" in bob.ask(f"{TOOL} target=reports")["body"]

    assert "version 3" in pair.change("!agency gosuto rollback pm 1")
    assert "pm does not run" in alice.ask("!agency gosuto push pm")["body"]
    assert "pm runs" in alice.ask("!agency agents start pm")["body"]
    assert "pm holds version 3 of its Gosuto" in alice.ask("!agency gosuto push pm")["body"]
    assert "pm held already version 3" in alice.ask("!agency gosuto push pm")["body"]
    assert "allow, by the rule write-to-room" in bob.ask(f"{TOOL} target=reports")["body"]
    listed = alice.ask("!agency gosuto versions pm")["body"]
    assert "pm has 3 versions:" in listed
    assert "a rollback to version 1" in listed
    assert "+ capabilities.write-to-room" in alice.ask("!agency gosuto diff pm")["body"]
    rows = pair.control.query("SELECT number, sha256, document FROM gosuto_versions ORDER BY 1")
    assert [number for number, _, _ in rows] == [1, 2, 3]
    assert rows[0][1:] == rows[2][1:]
    assert all(sha256(text.encode()).hexdigest() == digest for _, digest, text in rows)
    assert pair.control.verify() == 0


def test_a_document_in_a_file_is_handed_in_and_approved_by_its_digest(
    pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "pm.yaml"
    document = filled("pm")
    file.write_text(as_yaml(document))
    path = socket_of(pair.control)
    status, answer = command(path, "gosuto", "validate", "pm", attach=file)
    assert (status, answer["outcome"]) == (0, "done"), answer
    assert "--document=sha256:" in answer["said"]
    words = ("gosuto", "set", "pm")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(command, path, *words, attach=file, id="hand-in")
        listed = pair.wait_for(lambda: waiting(pair), "an operation that waits")
        pair.control.stop(signal.SIGKILL)
        pair.control.start()
        pair.approve(f"x {listed}", "alice")
        status, answer = asked.result(timeout=60)
    assert (status, answer["outcome"]) == (0, "done"), answer
    assert "version 1" in answer["reply"]["text"]
    (row,) = pair.control.query("SELECT number, author, made_by FROM gosuto_versions")
    assert row[0] == 1
    assert row[1].startswith("cli:")
    assert row[2].startswith("the document sha256:")
    file.write_text(file.read_text().replace("answer: ask", "answer: maybe"))
    status, answer = command(path, *words, attach=file)
    assert status == 1
    assert "capabilities.give-a-task.answer" in answer["error"]["message"]
    status, answer = command(path, *words, f"--document=sha256:{'0' * 64}")
    assert status == 1


def test_a_document_is_sent_to_the_room_as_a_file(pair: Pair) -> None:
    """As clients do: a command that replies to the file, and one that is its caption."""
    document = filled("pm")
    url = pair.upload(as_yaml(document).encode(), "alice")
    file = pair.rooms["alice"].say("pm.yaml", msgtype="m.file", url=url)
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": file}}}
    said = pair.rooms["bob"].ask("!agency gosuto validate pm", **reply)["body"]
    assert "The file is not yours, but @alice:agency.example's" in said
    event = pair.rooms["alice"].say(
        "> <@alice:agency.example> pm.yaml\n\n!agency gosuto set pm", **reply
    )
    prompt = str(pair.rooms["alice"].reply(event)["content"]["body"])
    digest = sha256_of(document)
    assert f"by the document sha256:{digest}" in prompt
    pair.approve(prompt, "bob")
    assert pair.final(event, "alice").startswith("pm has version 1 of its Gosuto")
    assert pair.control.query("SELECT sha256, author FROM gosuto_versions") == [
        (digest, "@alice:agency.example")
    ]

    broken = as_yaml(document).replace("answer: ask", "answer: maybe").encode()
    caption = {"msgtype": "m.file", "filename": "pm.yaml", "url": pair.upload(broken, "bob")}
    said = pair.rooms["bob"].ask("!agency gosuto set pm", **caption)["body"]
    assert "capabilities.give-a-task.answer" in said

    leaky = as_yaml(document).encode() + b"# ghp_" + b"a1B2" * 9
    caption["url"] = pair.upload(leaky, "bob")
    said = pair.rooms["bob"].ask("!agency gosuto set pm", **caption)["body"]
    assert "holds" in said
    assert "deleted the message" in said


def waiting(pair: Pair) -> str | None:
    found = pair.control.query("SELECT id FROM operations WHERE state = 'waiting'")
    return str(found[0][0]) if found else None


@pytest.mark.parametrize(
    ("moment", "made"),
    [
        pytest.param("accepted", 0, marks=pytest.mark.thorough),
        ("uncommitted", 0),
        pytest.param("unsent", 1, marks=pytest.mark.thorough),
    ],
)
def test_killed_while_it_is_changed_a_version_is_made_once_or_reported_as_not_made(
    pair: Pair, moment: str, made: int
) -> None:
    event, prompt = pair.asked(MAKE, "alice")
    pair.control.stop()
    usual = pair.control.program
    pair.control.program = (killing.__file__, moment)
    pair.control.start()
    pair.rooms["bob"].say(f"approve {prompt.split()[1][:9]}")
    assert pair.control.process.wait(20) == -signal.SIGKILL
    pair.control.program = usual
    pair.control.start()
    answer = pair.final(event, "alice")
    assert ("was not run again" in answer) is (made == 0)
    assert pair.control.query("SELECT count(*) FROM gosuto_versions") == [(made,)]
    if not made:
        assert "version 1" in pair.change(MAKE)
    assert "pm has one version:" in pair.rooms["bob"].ask("!agency gosuto versions pm")["body"]
    assert pair.control.verify() == 0
