"""A command that people may read otherwise is recorded as typed and as understood."""

from __future__ import annotations

from typing import Any

import pytest
from desk import Desk, strict

from agency.canonical import sha256_hex
from agency.control.operation import Origin, OriginKind

CANONICAL = '!agency agents start pm --project="new app"'


def content(body: str, **more: Any) -> dict[str, Any]:
    return {"content": {"msgtype": "m.text", "body": body, **more}}


@pytest.mark.parametrize(
    "body",
    [
        "!agency agents start pm \u2014project \u201cnew app\u201d",
        'agency: !agency agents start pm --project="new app"',
    ],
)
async def test_both_are_recorded_and_the_reply_quotes_what_was_understood(
    desk: Desk, body: str
) -> None:
    if body.startswith("agency"):
        desk.intake.looks_like_command = lambda _text: True
    (reply,) = await desk.say(body)
    assert reply["body"] == f"Understood: {CANONICAL}\ndid agents start"
    for detail in await desk.details():
        assert (detail["typed"], detail["said"]) == (body, CANONICAL)
        assert "shown" not in detail


async def test_html_that_shows_something_else(desk: Desk) -> None:
    lunch = "shall we have lunch?"
    (reply,) = await desk.say("", **content("!agency ping", formatted_body=lunch))
    assert reply["body"] == "Understood: !agency ping\ndid ping"
    (detail,) = await desk.details()
    assert detail["typed"] == detail["said"] == "!agency ping"
    assert detail["shown"] == sha256_hex(lunch.encode())


@pytest.mark.parametrize(
    "body", ["!agency ping\r\n", "  !agency ping", "//ruriko ping", "!agency   ping"]
)
async def test_command_that_reads_as_it_runs_is_not_quoted(desk: Desk, body: str) -> None:
    html = f"<p>{body}</p>"
    (reply,) = await desk.say("", **content(body, formatted_body=html))
    assert reply["body"] == "did ping"
    (detail,) = await desk.details()
    assert "typed" not in detail


async def test_approver_is_shown_what_was_understood_also_after_a_restart(desk: Desk) -> None:
    body = "!agency agents start pm \u2014project \u201cnew app\u201d"
    operations = strict(desk)
    await desk.take(desk.event(body))
    await desk.finish(operations)
    (notice,) = await desk.said()
    assert notice["body"].startswith(f"Understood: {CANONICAL}\nOperation op-")
    again = strict(desk)
    await desk.finish(again)
    (operation,) = again._approvals.waiting.values()
    await again.grant(operation.id, "@bob:x.org")
    await desk.finish(again)
    assert (await desk.said())[-1]["body"] == f"Understood: {CANONICAL}\ndid agents start"


def test_origin_of_an_older_version_is_read() -> None:
    old = '{"id":"$e","ts":5,"room":"!r:x","thread":"$t"}'
    origin = Origin.read("matrix", old)
    assert origin == Origin(OriginKind.MATRIX, "$e", 5, "!r:x", "$t")
    assert origin.record() == old
    assert origin.facts == {"event": "$e"}
