"""The store in a real PostgreSQL: the same promises as in SQLite."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving_postgresql import INITDB, POSTGRES, serving
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from agency.clock import Clock, new_id
from agency.control.events import EventKind, IncomingEvent
from agency.control.operations import Operation, Origin, OriginKind, State
from agency.control.store import (
    agents,
    audit,
    gosuto,
    inbox,
    operations,
    outbox,
    pruning,
    schema,
)
from agency.control.store.agents import Desired, InventoryChange
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.gosuto import Version
from agency.control.store.inbox import InboxState
from agency.control.store.outbox import Message
from agency.control.store.reading import export_rows, read_head, verify_database
from agency.errors import InternalError, PrerequisiteError
from agency.store import Database, Holder, hold, holding, migrate, open_database, parse_url

pytest.importorskip("asyncpg", reason="PostgreSQL is optional: install agency[postgresql]")

pytestmark = pytest.mark.skipif(
    INITDB is None or POSTGRES is None, reason="PostgreSQL's server is not installed"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A PostgreSQL on a socket in a directory of its own."""
    with serving("agency") as place:
        yield place


@pytest.fixture
async def url(server: Path) -> str:
    """A database of the test's own: a control plane that was killed leaves what it did."""
    name = new_id("test").replace("-", "_")
    engine = create_async_engine(
        f"postgresql+asyncpg://agency@/postgres?host={server}", isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    return f"postgresql+asyncpg://agency@/{name}?host={server}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A migrated database with an opened log."""
    opened = open_database(url)
    await migrate(opened, schema.SCHEMA)
    await opened.write(lambda c: audit.open_log(c, "test", Clock()))
    yield opened
    await opened.close()


def entry(number: int) -> AuditEntry:
    return AuditEntry(f"t-{number}", "@a:x", "ping", "", Outcome.DONE)


async def test_migrating_again_changes_nothing(database: Database) -> None:
    assert await migrate(database, schema.SCHEMA) == schema.REVISION


async def test_audit_is_guarded_and_verified(database: Database, url: str) -> None:
    await database.write(lambda c: audit.append(c, Clock(), entry(1), entry(2)))
    for statement in (
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit WHERE sequence = 1",
        "TRUNCATE audit",
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            await database.write(lambda c, s=statement: c.execute(text(s)))
    head = await database.read(audit.head)

    def outside() -> Any:
        rows: list[int] = []
        export_rows(url, lambda row: rows.append(row.sequence), last=2)
        return verify_database(url, expected=head), read_head(url), rows

    report, read, rows = await asyncio.to_thread(outside)
    assert report.ok, report
    assert (report.count, read, rows) == (3, head, [2, 3])


async def test_edited_row_is_found(database: Database, url: str) -> None:
    await database.write(lambda c: audit.append(c, Clock(), entry(1), entry(2)))

    def tamper(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        connection.execute(text("UPDATE audit SET actor = '@b:x' WHERE sequence = 2"))

    await database.write(tamper)
    report = await asyncio.to_thread(verify_database, url)
    assert (report.ok, report.first_bad) == (False, 2)


async def test_queues_and_inventory(database: Database) -> None:
    event = IncomingEvent("$1", "!r:x", "@a:x", 1, EventKind.MESSAGE, "m.text", "a\0\ud800")
    add = [(event, "t-1"), (event, "t-2")]
    assert await database.write(lambda c: inbox.add_transaction(c, "one", 5, add)) == 1
    assert await database.write(lambda c: inbox.add_transaction(c, "two", 5, add)) == 0
    (stored,) = await database.read(
        lambda c: inbox.in_state(c, InboxState.PENDING, after=0, most=9)
    )
    assert stored.event == event
    await database.write(lambda c: inbox.set_done(c, stored.sequence))
    assert await database.read(inbox.unfinished) == 0
    message = Message("txn", "!r:x", "@b:x", {"body": "é\0"}, "t-1")
    for _ in range(2):
        await database.write(lambda c: outbox.add(c, message, 5))
    (waiting,) = await database.read(outbox.first_of_each_room)
    assert waiting.message == message
    await database.write(lambda c: outbox.set_sent(c, waiting.sequence, "$2"))
    await database.write(lambda c: agents.synchronise(c, {"pm"}, 1))
    change = InventoryChange("pm", Desired.RUNNING, "new-app", "running", "7")
    await database.write(lambda c: agents.apply(c, change, 2))
    assert [r.project for r in await database.read(agents.records)] == ["new-app"]
    pruned = await database.write(lambda c: pruning.prune(c, 99))
    assert (pruned.inbox, pruned.outbox, pruned.transactions) == (1, 1, 2)


async def test_writers_of_two_processes_take_turns(database: Database, url: str) -> None:
    other = open_database(url)
    try:
        await asyncio.gather(
            *(
                each.write(lambda c, n=number: audit.append(c, Clock(), entry(n)))
                for number in range(20)
                for each in (database, other)
            )
        )
    finally:
        await other.close()
    report = await asyncio.to_thread(verify_database, url)
    assert (report.ok, report.count) == (True, 41)


def test_control_plane_runs_on_it(
    server: Path,
    url: str,
    make_control: Any,
    credentials: Path,
    stub: Any,
    make_event: Any,
    wait_for: Any,
) -> None:
    control = make_control(credentials, homeserver_url=stub.url, database_url=url)
    assert control.start()["database"]["writable"] is True
    event = make_event("!start-agent pm --project=new-app")
    for txn in ("one", "one", "two"):
        assert control.deliver([event], txn=txn).status_code == 200
    (reply,) = wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert reply["org.agency.reply"]["ok"] is True, reply["body"]
    control.stop(signal.SIGKILL)
    control.start()
    ping = make_event("!agency ping")
    control.deliver([event, ping])
    wait_for(lambda: stub.replies(ping["event_id"]), "reply after the crash")
    assert len(stub.replies(event["event_id"])) == 1
    assert control.stop() == 0
    argv = [sys.executable, "-m", "agency", "audit", "verify", "--database", url]
    assert subprocess.run(argv, check=False).returncode == 0


async def test_database_has_one_holder_at_a_time(url: str, tmp_path: Path) -> None:
    place = parse_url(url)
    strange = tmp_path / "*/ : %s ' $1 :x"
    async with hold(place, Holder.here(strange)):
        with pytest.raises(PrerequisiteError) as caught:
            async with hold(place, Holder(1, "other", "/x")):
                pass
        said = str(caught.value)
        assert f"process {os.getpid()} on {os.uname().nodename}" in said
        assert f"the state directory {strange}" in said
    async with hold(place, Holder.here(tmp_path)):
        pass


async def ended_session(url: str) -> None:
    """End the session that holds the database, as an administrator or a lost network would."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        statement = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE '%agency holder%' AND pid <> pg_backend_pid()"
        )
        assert (await connection.execute(statement)).all()
    await engine.dispose()


async def test_lost_session_takes_the_database_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_CHECK_EVERY_S", 0.05)
    place = parse_url(url)
    async with hold(place, Holder.here(tmp_path)) as held:
        watching = asyncio.create_task(held.watch())
        await ended_session(url)

        async def taken() -> bool:
            try:
                async with hold(place, Holder(1, "other", "/x")):
                    return False
            except PrerequisiteError:
                return True

        async with asyncio.timeout(20):
            await asyncio.sleep(0.3)
            while not await taken():  # noqa: ASYNC110 - a server tells nobody
                await asyncio.sleep(0.1)
        assert not watching.done()
        watching.cancel()


async def test_lost_to_another_it_ends(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_CHECK_EVERY_S", 0.5)
    place = parse_url(url)
    async with hold(place, Holder.here(tmp_path)) as held:
        watching = asyncio.create_task(held.watch())
        await ended_session(url)
        async with hold(place, Holder(7, "other", "/x")):
            with pytest.raises(PrerequisiteError, match="process 7 on other"):
                await asyncio.wait_for(watching, 20)


async def test_server_that_is_not_there(tmp_path: Path) -> None:
    absent = parse_url(f"postgresql+asyncpg://agency@/postgres?host={tmp_path}")
    with pytest.raises(PrerequisiteError, match="cannot use the database"):
        async with hold(absent, Holder.here(tmp_path)):
            pass


def test_second_control_plane_on_one_database(
    url: str, make_control: Any, credentials: Path, stub: Any, tmp_path: Path
) -> None:
    control = make_control(credentials, homeserver_url=stub.url, database_url=url)
    control.start()
    assert control.process is not None
    first = control.process.pid
    other = make_control(
        credentials, homeserver_url=stub.url, database_url=url, state_dir=str(tmp_path / "other")
    )
    assert other.launch().wait(30) == 3
    other.process = None
    assert f"the database is held by process {first} on" in other.log.read_text()
    control.stop(signal.SIGKILL)
    other.start()
    assert other.stop() == 0


async def test_operations_and_approvals(database: Database) -> None:
    origin = Origin(OriginKind.MATRIX, "$1", 1, "!r:x", "$1")
    said = '!agency agents start pm --project="é"'
    made = Operation(origin, "@a:x", "agents start", said, "pm", "t-1", 1, 2, State.WAITING, "two")
    await database.write(lambda c: operations.add(c, made, 5))
    (read,) = await database.read(operations.unfinished)
    assert read == replace(made, stored=True)
    assert await database.read(lambda c: operations.recorded(c, made.id)) == (read, made.digest)
    granted, running = (replace(read, state=state) for state in (State.GRANTED, State.RUNNING))
    for _ in range(2):
        await database.write(lambda c: operations.grant(c, read, "@b:x", 6))
    await database.write(lambda c: operations.move(c, read, granted, 6))
    assert await database.write(lambda c: operations.spend(c, granted, {"@c:x"}, 7)) == 0
    assert await database.write(lambda c: operations.spend(c, granted, {"@b:x"}, 7)) == 1
    assert await database.write(lambda c: operations.spend(c, granted, {"@b:x"}, 7)) == 0
    await database.write(lambda c: operations.move(c, granted, running, 7))
    with pytest.raises(InternalError):
        await database.write(lambda c: operations.move(c, granted, running, 7))
    assert await database.read(operations.counts) == {State.RUNNING: 1}
    done = replace(running, state=State.DONE)
    await database.write(lambda c: operations.move(c, running, done, 8, answer="{}"))
    assert await database.read(lambda c: operations.answer(c, made.id)) == "{}"
    assert await database.write(lambda c: operations.prune(c, 9)) == 1


async def test_versions_of_documents(database: Database) -> None:
    made = Version("pm", 1, "a" * 64, "@a:x", 5, "t-1", "the template pm", '{"é":"\\u2028"}')
    second = replace(made, number=2)
    for version in (made, second):
        await database.write(lambda c, version=version: gosuto.add(c, version))
    assert await database.read(lambda c: gosuto.newest(c, "pm")) == second
    assert await database.read(lambda c: gosuto.version(c, "pm", 1)) == made
    assert await database.read(lambda c: gosuto.versions(c, "pm", 9)) == [second, made]
    assert await database.read(lambda c: gosuto.newest(c, "developer")) is None
    with pytest.raises(DBAPIError):
        await database.write(lambda c: gosuto.add(c, second))
    for kept in ("one", "other"):
        await database.write(lambda c, kept=kept: gosuto.keep_document(c, "b" * 64, kept, 6))
    assert await database.read(lambda c: gosuto.document(c, "b" * 64)) == "other"
    assert await database.write(lambda c: gosuto.prune_documents(c, 7)) == 1
    assert await database.read(gosuto.count_documents) == 0
