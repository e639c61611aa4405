"""Documents that people send to the room as files: the command is a reply, or the caption."""

from __future__ import annotations

from typing import Any

import pytest
from desk import ALICE, BOB, ROOM
from gosuto_front import GosutoFront
from gosutos import filled

from agency.control.execution.result import RefusalError
from agency.control.gosuto.documents import FileDocuments
from agency.control.policy import People, Policy
from agency.control.store import audit
from agency.gosuto import as_yaml, sha256

GATED = Policy(People(frozenset({ALICE, BOB})))
REPLY = {"m.relates_to": {"m.in_reply_to": {"event_id": "$file"}}}
SET = "!agency gosuto set pm"
TOKEN = "ghp_" + "a1B2" * 9


class Files:
    """The files of the room; what was asked for, and what was deleted."""

    def __init__(self) -> None:
        self.content = as_yaml(filled("pm")).encode()
        self.refusal: RefusalError | None = None
        self.asked: list[tuple[str, str, str]] = []
        self.deleted: list[str] = []

    async def read(self, *what: str) -> bytes:
        self.asked.append((what[0], what[1], what[2]))
        if self.refusal is not None:
            raise self.refusal
        return self.content

    async def take_away(self, event: Any) -> str:
        self.deleted.append(event.event_id)
        return "I deleted the message."


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def front(desk, files):
    desk.hand_in = FileDocuments(desk.database, desk.clock, files.read, files.take_away)
    return GosutoFront(desk, GATED)


def said(text: str, **content: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": text, **content}


async def reply(front: GosutoFront, text: str = SET, by: str = ALICE) -> str:
    return await front.say(text, by, content=said(text, **REPLY))


async def test_a_reply_to_a_file_hands_it_in_and_is_approved_by_its_digest(front, files):
    prompt = await reply(front)
    digest = sha256(filled("pm"))
    assert f"by the document sha256:{digest}" in prompt
    assert files.asked == [(ROOM, "$file", ALICE)]
    answer = await front.approve(prompt)
    assert answer.startswith("pm has version 1 of its Gosuto, by the document sha256:")
    (version,) = await front.versions()
    assert (version.sha256, version.author) == (digest, ALICE)
    rows = await front.desk.database.read(lambda c: audit.by_trace(c, version.trace, 10))
    assert [row.outcome for row in rows] == ["waiting", "granted", "accepted", "done"]
    assert all(f"--document=sha256:{digest}" in row.detail for row in rows[2:])


async def test_a_file_with_the_command_as_its_caption_is_the_same(front, files):
    event = front.desk.event(SET, content=said(SET, msgtype="m.file", filename="pm.yaml"))
    await front.desk.take(event)
    await front.desk.finish(front.operations)
    assert "by the document sha256:" in (await front.bodies())[-1]
    assert files.asked == [(ROOM, event["event_id"], ALICE)]


async def test_validate_takes_a_file_and_changes_nothing(front):
    assert "Valid. The Gosuto of pm has none now" in await reply(
        front, "!agency gosuto validate pm"
    )
    assert await front.versions() == []


async def test_a_command_that_says_more_takes_no_file(front, files):
    prompt = await reply(
        front,
        f'{SET} --template cron-agent room={ROOM} operator={ALICE} task=x "schedule=0 7 * * 1-5"',
    )
    assert "by the template cron-agent" in prompt
    assert files.asked == []


async def test_without_a_file_there_is_nothing_to_set(front, files):
    await front.change(
        f'{SET} --template cron-agent room={ROOM} operator={ALICE} task=x "schedule=0 7 * * 1-5"'
    )
    assert "There is nothing to set" in await front.say(SET)
    assert files.asked == []


@pytest.mark.parametrize("command", ["agents list", "secrets set key"])
async def test_another_command_takes_no_file(front, files, command):
    text = f"!agency {command}"
    answer = await front.say(text, content=said(text, msgtype="m.file", filename="a"))
    assert "takes no file, so nothing was done." in answer
    assert files.asked == []


async def test_a_file_is_read_for_nobody_without_the_right(front, files):
    answer = await reply(front, by="@mallory:x.org")
    assert "not" in answer
    assert files.asked == []


async def test_a_file_that_cannot_be_read_is_told(front, files):
    files.refusal = RefusalError("the file is not yours, but @bob:x.org's", hint="send yours")
    answer = await reply(front)
    assert answer.startswith("The file is not yours, but @bob:x.org's.\nsend yours")
    assert await front.versions() == []


async def test_every_problem_of_a_document_is_told(front, files):
    files.content = files.content.replace(b"answer: ask", b"answer: maybe")
    answer = await reply(front)
    assert "capabilities.give-a-task.answer" in answer
    assert files.deleted == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("prompt:", "prompt: {} #"), ("metadata:", "# {}\nmetadata:"), ("metadata:", "{}: [")],
    ids=["in a field", "in a comment", "in what is no document"],
)
async def test_a_document_with_a_token_is_deleted_and_kept_nowhere(front, files, before, after):
    text = files.content.decode()
    files.content = text.replace(before, after.format(TOKEN), 1).encode()
    assert TOKEN.encode() in files.content
    answer = await reply(front)
    assert "holds" in answer
    assert "I deleted the message." in answer
    assert files.deleted == ["$file"]
    assert TOKEN not in str(await front.desk.said())


async def test_the_same_file_twice_is_one_document(front):
    await front.approve(await reply(front))
    assert "Nothing would change" in await reply(front)
