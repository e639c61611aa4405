"""The store in a real PostgreSQL: the same promises as in SQLite."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agency.clock import Clock
from agency.control.events import EventKind, IncomingEvent
from agency.control.store import agents, audit, inbox, outbox, pruning, schema
from agency.control.store.agents import Desired, InventoryChange
from agency.control.store.audit import AuditEntry, Outcome
from agency.control.store.database import Database, open_database
from agency.control.store.migrate import migrate
from agency.control.store.outbox import Message
from agency.control.store.reading import export_rows, read_head, verify_database

pytest.importorskip("asyncpg", reason="PostgreSQL is optional: install agency[postgresql]")

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_BIN = str(_BINARIES[-1]) if _BINARIES else os.environ.get("PATH", os.defpath)
_INITDB, _POSTGRES = (shutil.which(name, path=_BIN) for name in ("initdb", "postgres"))
_AS_ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(
    _INITDB is None or _POSTGRES is None, reason="PostgreSQL's server is not installed"
)


def as_postgres(argv: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if not _AS_ROOT:
        return argv
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", *argv]


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A PostgreSQL on a socket in a directory of its own."""
    place = Path(tempfile.mkdtemp(prefix="pg"))
    if _AS_ROOT:
        shutil.chown(place, "nobody", "nogroup")
    data = place / "data"
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8"}
    try:
        subprocess.run(
            as_postgres([str(_INITDB), "-D", str(data), "-U", "agency", "-A", "trust", "-N"]),
            check=True,
            capture_output=True,
            env=env,
            cwd=place,
        )
        argv = [str(_POSTGRES), "-D", str(data), "-k", str(place), "-c", "listen_addresses="]
        process = subprocess.Popen(as_postgres(argv), env=env, cwd=place, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not (place / ".s.PGSQL.5432").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield place
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def url(server: Path) -> str:
    return f"postgresql+asyncpg://agency@/postgres?host={server}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """A migrated database with an opened log; emptied afterwards."""
    opened = open_database(url)
    await migrate(opened)
    await opened.write(lambda c: audit.open_log(c, "test", Clock()))
    yield opened
    drop = text("DROP SCHEMA public CASCADE")
    await opened.write(lambda c: c.execute(drop))
    await opened.write(lambda c: c.execute(text("CREATE SCHEMA public")))
    await opened.close()


def entry(number: int) -> AuditEntry:
    return AuditEntry(f"t-{number}", "@a:x", "ping", "", Outcome.DONE)


async def test_migrating_again_changes_nothing(database: Database) -> None:
    assert await migrate(database) == schema.REVISION


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
    stored = await database.read(inbox.first_unfinished)
    assert stored is not None
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
    assert control.start()["database"] == {"writable": True}
    event = make_event("!start-agent pm --project=new-app")
    for txn in ("one", "one", "two"):
        assert control.deliver([event], txn=txn).status_code == 200
    (reply,) = wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert reply["org.agency.reply"]["ok"] is True
    control.stop(signal.SIGKILL)
    control.start()
    ping = make_event("!agency ping")
    control.deliver([event, ping])
    wait_for(lambda: stub.replies(ping["event_id"]), "reply after the crash")
    assert len(stub.replies(event["event_id"])) == 1
    assert control.stop() == 0
    argv = [sys.executable, "-m", "agency", "audit", "verify", "--database", url]
    assert subprocess.run(argv, check=False).returncode == 0
