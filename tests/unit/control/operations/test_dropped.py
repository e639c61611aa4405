"""Events that are none are dropped: told in audit, log and conditions, and not for ever."""

from __future__ import annotations

import logging

import pytest
from desk import Desk

from agency.control.appservice import transactions
from agency.control.store import audit

BROKEN = {"type": "m.room.message"}
TOLD = "events dropped"


async def test_the_row_says_which_transaction_how_many_and_why(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await desk.take(BROKEN, BROKEN, desk.event("!agency ping"), txn="7" * 100)
    assert await desk.outcomes() == [(audit.SYSTEM, TOLD, "failed")]
    (detail,) = await desk.details()
    assert detail == {"txn": "7" * 80, "number": 2, "reasons": detail["reasons"]}
    assert "event_id" in detail["reasons"]
    (line,) = [record for record in caplog.records if "malformed events" in record.getMessage()]
    assert line.getMessage() == f"malformed events dropped: {detail['reasons']}"
    assert line.fields["txn"] == "7" * 80
    assert await desk.unfinished() == 1, "the control: the command beside them is taken"


async def test_a_homeserver_that_repeats_it_for_ever_does_not_fill_the_disk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_MOST_AUDITED", 3)
    for number in range(10):
        await desk.take(BROKEN, txn=f"t{number}")
    rows = [row for row in await desk.outcomes() if row[1] == TOLD]
    assert len(rows) == 3
    assert desk.intake.counts.dropped == 10, "each is counted all the same"
