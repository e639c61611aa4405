"""Each event is settled exactly once, with its audit row and its reply, whatever happens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agency.control.appservice.transactions import InboxFullError
from agency.control.execution.result import Invocation, RefusalError, Result
from agency.control.runtimes.base import AgentRuntimeError
from agency.control.store.audit import Outcome

ALICE = "@alice:x.org"


async def test_reading_command_runs_and_has_one_row(desk: Any) -> None:
    (reply,) = await desk.say("!agency ping")
    assert reply["body"] == "did ping"
    assert reply["org.agency.reply"]["ok"] is True, reply["body"]
    assert desk.calls == [f"ping by {ALICE}"]
    assert await desk.outcomes() == [(ALICE, "ping", "done")]
    assert await desk.unfinished() == 0


async def test_changing_command_is_accepted_before_and_recorded_after(desk: Any) -> None:
    seen: list[Any] = []

    async def start(_invocation: Invocation) -> Result:
        seen.extend(await desk.outcomes())
        return Result("started", detail={"pid": 7})

    desk.handlers["agents start"] = start
    await desk.say("!start-agent pm --project=new-app")
    assert seen == [(ALICE, "agents start", "accepted")], "on record before it acted"
    assert await desk.outcomes() == [
        (ALICE, "agents start", "accepted"),
        (ALICE, "agents start", "done"),
    ]
    accepted, done = await desk.details()
    assert accepted["said"] == "!agency agents start pm --project=new-app"
    assert done["pid"] == 7
    assert accepted["event"] == done["event"]


async def test_mistake_is_pointed_at(desk: Any) -> None:
    (reply,) = await desk.say("!start-agentx pm")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert "<pre><code>!start-agentx pm\n^^^^^^^^^^^^^" in reply["formatted_body"]
    assert await desk.outcomes() == [(ALICE, "command", "refused")]
    assert desk.calls == []


async def test_text_that_was_not_understood_is_not_kept(desk: Any) -> None:
    await desk.say("!agency agents start pm --password=canary-7c3e")
    await desk.say("!agency canary-7c3e", sender="@eve:x.org")
    assert "canary-7c3e" not in json.dumps(await desk.details())
    assert all(len(detail["sha256"]) == 64 for detail in await desk.details())


@pytest.mark.parametrize(
    ("changes", "outcome", "answered"),
    [
        ({"sender": "@eve:x.org"}, "refused", True),
        ({"sender": "@agency:x.org"}, "ignored", False),
        ({"room_id": "!other:x.org"}, "ignored", False),
        ({"content": {"msgtype": "m.notice", "body": "!agency ping"}}, "ignored", False),
        ({"origin_server_ts": 1}, "refused", True),
        ({"type": "m.room.encrypted", "content": {}}, "refused", True),
    ],
)
async def test_what_may_not_run_is_audited_and_does_not_run(
    desk: Any, changes: dict[str, Any], outcome: str, answered: bool
) -> None:
    replies = await desk.say("!agency ping", **changes)
    assert len(replies) == answered
    assert [row[2] for row in await desk.outcomes()] == [outcome]
    assert desk.calls == []
    await desk.say("!agency ping")
    assert desk.calls == [f"ping by {ALICE}"], "the same, from the right person, does run"


async def test_chat_leaves_no_trace(desk: Any) -> None:
    assert await desk.take(desk.event("hello"), desk.event("hello, !agency ping")) == 0
    await desk.settle()
    assert await desk.outcomes() == []
    assert await desk.said() == []


async def test_same_event_runs_once_in_any_transaction(desk: Any) -> None:
    event = desk.event("!agency ping")
    assert await desk.take(event, event, txn="one") == 1
    assert await desk.take(event, txn="one") == 0
    await desk.settle()
    assert await desk.take(event, txn="two") == 0
    await desk.settle()
    assert len(desk.calls) == len(await desk.said()) == len(await desk.outcomes()) == 1


async def test_event_decides_what_is_new_and_not_its_transaction(desk: Any) -> None:
    """A homeserver that restarts on SQLite counts its transactions from 1 again."""
    first, second = desk.event("!agency ping"), desk.event("!agency version")
    assert await desk.take(first, txn="one") == 1
    assert await desk.take(second, txn="one") == 1
    assert await desk.take(first, second, txn="one") == 0
    third = desk.event("!agency ping")
    assert await desk.take(second, third, txn="two") == 1, "the known one is not taken twice"
    await desk.settle()
    assert sorted(desk.calls) == [f"ping by {ALICE}", f"ping by {ALICE}", f"version by {ALICE}"]


async def test_same_event_delivered_at_the_same_time_runs_once(desk: Any) -> None:
    event = desk.event("!agency ping")
    fresh = await asyncio.gather(
        *(desk.take(event, txn=f"txn{number % 3}") for number in range(12))
    )
    assert sum(fresh) == 1
    await desk.settle()
    assert len(desk.calls) == 1


async def test_malformed_events_do_not_stop_the_others(desk: Any) -> None:
    good = desk.event("!agency ping")
    bad = [None, {}, 7, {**good, "event_id": None}, {**good, "content": {"body": 5}}, {"type": []}]
    assert await desk.take(*bad, good, *bad) == 1
    await desk.settle()
    assert len(desk.calls) == 1


async def test_characters_that_are_none_are_answered(desk: Any) -> None:
    for text in ("!agency \ud800", "!agency ping\0", "!agency \u202eping", "!agency p\u200bing"):
        (reply,) = await desk.say(text)
        assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert desk.calls == []


async def test_message_of_64_kib_is_refused(desk: Any) -> None:
    (reply,) = await desk.say("!agency ping " + "x" * 65536)
    assert "may have 4096" in reply["body"]


async def test_order_is_kept(desk: Any) -> None:
    names = ["ping", "version", "agents list", "ping", "version"]
    await desk.take(*(desk.event(f"!agency {name}") for name in names))
    await desk.settle()
    assert desk.calls == [f"{name} by {ALICE}" for name in names]
    # Looks run side by side: each answers in its own thread, whichever is first.
    assert sorted(content["body"] for content in await desk.said()) == [
        *("did agents list", "did ping", "did ping", "did version", "did version")
    ]


async def test_command_that_waited_too_long_is_refused(desk: Any) -> None:
    await desk.take(desk.event("!agency ping"))
    desk.held.seconds += 601
    await desk.settle()
    assert desk.calls == []
    assert "limit is 10 minutes" in (await desk.said())[0]["body"]


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (RefusalError("there is no agent pn", hint="did you mean pm?"), "refused", "There is no"),
        (AgentRuntimeError("the port is taken"), "failed", "The port is taken."),
        (ZeroDivisionError("canary-1f"), "failed", "The control plane failed"),
    ],
)
async def test_handler_that_fails_is_answered(
    desk: Any, error: Exception, outcome: str, said: str
) -> None:
    async def failing(_invocation: Invocation) -> Result:
        raise error

    desk.handlers["agents start"] = failing
    (reply,) = await desk.say("!agency agents start pm")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]
    assert reply["body"].startswith(said)
    assert "canary-1f" not in reply["body"]
    assert [row[2] for row in await desk.outcomes()] == ["accepted", outcome]


async def test_failed_result_is_not_ok(desk: Any) -> None:
    async def failing(_invocation: Invocation) -> Result:
        return Result("pm did not start", outcome=Outcome.FAILED)

    desk.handlers["agents start"] = failing
    (reply,) = await desk.say("!agency agents start pm")
    assert reply["org.agency.reply"]["ok"] is False, reply["body"]


async def test_nothing_is_run_while_too_much_waits_to_be_said(desk: Any) -> None:
    desk.max_outbox = 2
    await desk.take(*(desk.event("!agency ping") for _ in range(5)))
    await desk.settle()
    assert len(desk.calls) == 2
    assert await desk.unfinished() == 3


async def test_full_inbox_takes_no_more_until_there_is_room(desk: Any) -> None:
    desk.intake.max_inbox = 2
    await desk.take(desk.event("!agency ping"), desk.event("!agency ping"))
    late = desk.event("!agency version")
    with pytest.raises(InboxFullError):
        await desk.take(late, txn="late")
    assert await desk.take(desk.event("hello")) == 0, "what is no command is still acknowledged"
    await desk.settle()
    assert await desk.take(late, txn="late") == 1, "a refused transaction may come again"
