"""A thousand messages, delivered again and again, with crashes anywhere: the invariants hold.

- Every command of an operator is answered once; of the others some are, and all are on record.
- What changes something is begun once at most, and never without a row that says so before.
- Changes of one target begin, and are answered, in the order in which they were delivered.
- The audit log verifies.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from agency.control.execution.result import Invocation, Result
from agency.control.store import audit
from agency.control.store.audit import verify_chain

MESSAGES = 1000
SAID = (
    "!agency ping",
    "!agency agents list",
    "!agency agents start pm",
    "!stop-agent pm",
    "!start-agentx pm",
    "!agency \u202eping",
    "hello",
)
SENDERS = ("@alice:x.org", "@alice:x.org", "@alice:x.org", "@eve:x.org", "@agency:x.org")
CHANGES = ("agents start", "agents stop")


class CrashError(BaseException):
    """The process ends here."""


def crash_sometimes(desk: Any, chance: random.Random, began: list[str]) -> None:
    """Let handlers, and transactions before and after they are committed, end the process."""

    def handler(name: str) -> Any:
        async def handle(invocation: Invocation) -> Result:
            began.append(f"{name} {invocation.trace}")
            if chance.random() < 0.05:
                raise CrashError
            return Result(f"did {name}")

        return handle

    for name in desk.handlers:
        desk.handlers[name] = handler(name)
    write = desk.database.write

    async def crashing(work: Any, **options: Any) -> Any:
        if chance.random() < 0.02:
            raise CrashError

        def half(connection: Connection) -> Any:
            result = work(connection)
            if chance.random() < 0.02:
                raise CrashError  # all that was done in it is undone
            return result

        result = await write(half, **options)
        if chance.random() < 0.02:
            raise CrashError
        return result

    desk.database.write = crashing


async def until_done(call: Any) -> None:
    """Do it again after each crash, as a homeserver and a supervisor do."""
    while True:
        try:
            await call()
        except CrashError:
            continue
        return


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(1, 10))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_invariants(desk: Any, seed: int) -> None:
    chance = random.Random(seed)
    began: list[str] = []
    crash_sometimes(desk, chance, began)
    events = [
        desk.event(chance.choice(SAID), sender=chance.choice(SENDERS)) for _ in range(MESSAGES)
    ]
    for start in range(0, MESSAGES, 10):
        batch = events[start : start + 10]
        if start:  # and some that came before
            batch = [*batch, *chance.sample(events[:start], 2)]
        for _ in range(chance.choice((1, 1, 2))):
            await until_done(lambda b=batch, s=start: desk.take(*b, txn=f"batch-{s}"))
        await until_done(desk.settle)

    answered = Counter(content["org.agency.reply"]["command"] for content in await desk.said())
    said = [event for event in events if event["content"]["body"] != "hello"]
    operators = {event["event_id"] for event in said if event["sender"] == "@alice:x.org"}
    strangers = {event["event_id"] for event in said if event["sender"] == "@eve:x.org"}
    assert operators <= set(answered) <= operators | strangers
    assert set(answered.values()) == {1}

    rows = await desk.database.read(lambda c: audit.tail(c, 100_000))
    assert verify_chain(rows, instance="test").ok
    accepted = {row.trace for row in rows if row.outcome == "accepted"}
    changes = Counter(line for line in began if line.startswith(CHANGES))
    assert changes
    assert set(changes.values()) == {1}
    assert {line.split()[-1] for line in changes} <= accepted
    refused = [json.loads(row.detail) for row in rows if row.actor == "@eve:x.org"]
    assert sum(detail.get("count", 1) for detail in refused) == len(strangers), "each, once"
    settled = Counter(row.trace for row in rows[1:] if row.outcome != "accepted")
    assert set(settled.values()) == {1}, "one result for every event"

    order = [event["event_id"] for event in events]
    changing = {row.trace for row in rows if row.outcome == "accepted"}
    replies = [content["org.agency.reply"] for content in await desk.said()]
    replied = [reply["command"] for reply in replies if reply["trace"] in changing]
    assert replied == [event_id for event_id in order if event_id in set(replied)]
    numbers = [int(line.rpartition("-")[2]) for line in began if line.startswith(CHANGES)]
    assert numbers == sorted(numbers), "traces are numbered as the events came"
