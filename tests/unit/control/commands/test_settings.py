"""`config get` and `set`, `audit verify` and `export`, by the room's own grammar."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from agency.chain import Head
from agency.clock import Clock
from agency.control.api.access import Rate
from agency.control.config import ControlConfig
from agency.control.execution.result import RefusalError
from agency.control.kept.settings import KeptSettings
from agency.control.store import audit
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.following import verify_log
from agency.store import Database

CONFIG: Any = {
    "instance": "test",
    "domain": "x.org",
    "homeserver_url": "http://127.0.0.1:1",
    "listen_port": 1,
    "bot_id": "@agency:x.org",
    "control_room_alias": "#control:x.org",
    "operators": ["@alice:x.org"],
    "agents": [],
    "database_url": "postgresql+asyncpg://agency:hunter2hunter2@127.0.0.1/agency",
    "state_dir": "/nowhere",
    "api": {"listen_port": 2},
}


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("agency")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def settings_of(database: Database, rate: Rate) -> KeptSettings:
    def change(per_minute: int) -> None:
        rate.per_minute = per_minute

    return KeptSettings(database, ControlConfig(**CONFIG), change)


async def test_what_is_set_is_in_force_and_stays_so(database: Database, clock: Clock) -> None:
    rate = Rate(clock, 600)
    settings = settings_of(database, rate)
    await settings.restore()
    assert await settings.set("api-rate", "120") == ("600", "120")
    assert await settings.set("log-level", "error") == ("info", "error")
    assert rate.per_minute == 120
    assert logging.getLogger().level == logging.ERROR
    again = Rate(clock, 600)
    later = settings_of(database, again)
    await later.restore()
    assert again.per_minute == 120
    assert later.find("log-level").value == "error"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("api-rate", "9", "from 10 to 60000"),
        ("api-rate", "-1", "from 10 to 60000"),
        ("api-rate", "1e3", "from 10 to 60000"),
        ("log-level", "loud", "one of: debug"),
        ("log-leval", "debug", "no setting log-leval"),
        ("operators", "[]", "`operators` in instance.yaml"),
        ("approvals.rules", "[]", "`approvals` in instance.yaml"),
        ("database_url", "x", "agency.control.database"),
        ("limits.max_inbox", "1", "limits.max_inbox of control.json"),
    ],
)
async def test_what_is_not_in_the_store_is_refused_with_its_place(
    database: Database, clock: Clock, key: str, value: str, why: str
) -> None:
    settings = settings_of(database, Rate(clock, 600))
    before = settings.shown()
    with pytest.raises(RefusalError) as caught:
        await settings.set(key, value)
    assert why in str(caught.value)
    assert settings.shown() == before


async def test_every_setting_is_shown_and_no_password(database: Database, clock: Clock) -> None:
    shown = settings_of(database, Rate(clock, 600)).shown()
    tops = {each.key.partition(".")[0] for each in shown}
    assert tops >= {name for name in ControlConfig.model_fields if name != "api"}
    assert not any("hunter2" in f"{each.key} {each.value} {each.place}" for each in shown)


async def grown(database: Database, clock: Clock, number: int) -> Head:
    entries = [AuditEntry("t", "@a:x", "ping", "", Outcome.DONE) for _ in range(number)]
    return await database.write(lambda c: audit.append(c, clock, *entries))


async def heads(database: Database) -> list[str]:
    return [row.hash for row in await database.read(lambda c: audit.tail(c, 10_000))]


@pytest.mark.parametrize("part", [1, 3, 2000])
async def test_a_whole_log_is_followed_from_each_head(
    database: Database, clock: Clock, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.control.store.following._ROWS", part)
    end = await grown(database, clock, 7)
    report = await verify_log(database, "test")
    assert (report.ok, report.count, report.head) == (True, end.sequence, end.hash)
    for number, hash_ in enumerate(await heads(database), 1):
        assert (await verify_log(database, "test", Head(number, hash_))).ok
        assert not (await verify_log(database, "test", Head(number, "0" * 64))).ok
    assert not (await verify_log(database, "another")).ok
    assert not (await verify_log(database, "test", Head(end.sequence + 1, end.hash))).ok
    assert not (await verify_log(database, "test", Head(0, end.hash))).ok


@pytest.mark.parametrize("row", [1, 4, 8])
async def test_an_edit_after_the_head_is_found_and_one_before_is_not_looked_at(
    database: Database, clock: Clock, row: int
) -> None:
    await grown(database, clock, 7)
    head = Head(4, (await heads(database))[3])

    def edit(connection: Any) -> None:
        for name in connection.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")
        ).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(f"UPDATE audit SET actor = '@eve:x' WHERE sequence = {row}"))

    await database.write(edit)
    whole = await verify_log(database, "test")
    assert (whole.ok, whole.first_bad) == (False, row)
    assert (await verify_log(database, "test", head)).ok is (row < 4)


async def test_a_log_that_was_cut_is_found_by_where_it_was_left(
    database: Database, clock: Clock
) -> None:
    await grown(database, clock, 3)

    def cut(connection: Any) -> None:
        for name in connection.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")
        ).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("DELETE FROM audit WHERE sequence = 4"))

    await database.write(cut)
    report = await verify_log(database, "test")
    assert not report.ok
    assert "left at row 4" in (report.reason or "")
