"""Inbox on disk: what the agent is asked, and how far each answer is.

    waiting ─▶ working ─▶ answered ─▶ done      one transaction holds the events of a sync and its
        └────────┴── dropped (deleted)          token: none is lost, none is taken twice

SQLite with full synchronisation: whatever a method returns from is on disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from agency.agent.rooms.events.envelope import Envelope
from agency.agent.rooms.events.reading import Message
from agency.agent.rooms.events.waking import MINUTE_MS
from agency.characters import whole_characters
from agency.errors import PrerequisiteError
from agency.files import private_directory
from agency.locks import try_lock

TIMER = "timer:"  # begins the id of what a timer asks; events of rooms begin with $
DELETED = "Stopped: the message was deleted."
_VERSION = 1
_KEPT_MS = 30 * 86_400_000
_SCHEMA = """
CREATE TABLE work (
    event_id TEXT PRIMARY KEY, room TEXT NOT NULL, root TEXT NOT NULL, sender TEXT NOT NULL,
    text TEXT NOT NULL, taken_ms INTEGER NOT NULL, woke INTEGER NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, answer TEXT, reply_id TEXT,
    protocol TEXT, hops INTEGER, envelope_id TEXT, UNIQUE (sender, envelope_id)
);
CREATE INDEX work_by_thread ON work (room, root);
CREATE INDEX work_by_state ON work (state, taken_ms);
CREATE TABLE said (at_ms INTEGER NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = "event_id, room, root, sender, text, state, tries, answer, reply_id, protocol, hops"


class InboxError(PrerequisiteError):
    """Inbox that cannot be read, written or held: then no work is taken."""


class State(StrEnum):
    """State of what was asked."""

    WAITING = "waiting"
    WORKING = "working"
    ANSWERED = "answered"
    DONE = "done"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that was asked; `hops` and `protocol` are those of an envelope."""

    event_id: str
    room: str
    root: str
    sender: str
    text: str
    state: State
    tries: int
    answer: str | None
    reply_id: str | None
    protocol: str | None
    hops: int | None

    @property
    def timer(self) -> str | None:
        """Timer that asked it; None if it was said in a room."""
        if not self.event_id.startswith(TIMER):
            return None
        return self.event_id.removeprefix(TIMER).rpartition("@")[0]


class Inbox:
    """An open inbox, which one process holds."""

    def __init__(self, directory: Path) -> None:
        """Open or make the inbox in a directory of the agent's own.

        Raises:
            PrerequisiteError: it cannot be used, or another process holds it.
        """
        self.path = directory / "inbox.db"
        try:
            private_directory(directory)
        except OSError as error:
            raise self._error(error.strerror or "its directory cannot be made") from error
        lock = try_lock(directory / "inbox.lock")
        if lock is None:
            raise InboxError(
                "another process answers for this agent",
                where=str(self.path),
                hint="end it first; two would answer each message twice",
            )
        self._lock = lock
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            os.close(lock)
            raise self._error(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        os.close(self._lock)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Put all changes of a block on disk, or none."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @property
    def since(self) -> str | None:
        """Token of the last sync whose events are here."""
        return self.fact("since")

    def fact(self, name: str) -> str | None:
        """Return a fact that was put down."""
        found = self._one("SELECT value FROM facts WHERE name = ?", name)
        return None if found is None else str(found[0])

    def put_fact(self, name: str, value: str) -> None:
        """Put down a fact."""
        self._run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", name, value)

    def take(
        self,
        message: Message,
        text: str,
        now: int,
        *,
        envelope: Envelope | None = None,
        refusal: str | None = None,
    ) -> bool:
        """Take what is asked, or a refusal of it as its answer; return False if it was here."""
        state = State.WAITING if refusal is None else State.ANSWERED
        done = self._run(
            "INSERT OR IGNORE INTO work (event_id, room, root, sender, text, taken_ms, woke, "
            "state, answer, protocol, hops, envelope_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            message.event_id,
            message.room,
            message.root,
            message.sender,
            text if refusal is None else "",
            now,
            refusal is None,
            state.value,
            refusal,
            envelope.protocol if envelope else None,
            envelope.hops if envelope else None,
            envelope.id if envelope else None,
        )
        return done.rowcount == 1

    def knows(self, event_id: str) -> bool:
        """Return whether an event was taken before."""
        return self._one("SELECT 1 FROM work WHERE event_id = ?", event_id) is not None

    def in_thread(self, room: str, root: str) -> bool:
        """Return whether the agent was asked in a thread before."""
        query = "SELECT 1 FROM work WHERE room = ? AND root = ? AND woke"
        return self._one(query, room, root) is not None

    def recent(self, now: int) -> tuple[int, bool]:
        """Count what woke the agent within a minute; return whether it refused, too."""
        self._heed_clock(now)
        woke, refused = 0, False
        for (each,) in self._all("SELECT woke FROM work WHERE taken_ms > ?", now - MINUTE_MS):
            woke, refused = woke + bool(each), refused or not each
        return woke, refused

    def waiting(self) -> int:
        """Count what waits."""
        found = self._one("SELECT count(*) FROM work WHERE state = 'waiting'")
        return int(found[0]) if found else 0

    def open_work(self) -> list[Work]:
        """List what is not done, in the order in which it was taken."""
        return self._work("state IN ('waiting', 'working', 'answered') ORDER BY taken_ms, rowid")

    def get(self, event_id: str) -> Work | None:
        """Return what was asked by an event."""
        return next(iter(self._work("event_id = ?", event_id)), None)

    def begin(self, event_id: str) -> None:
        """Note that the work begins, once more."""
        query = "UPDATE work SET state = 'working', tries = tries + 1 WHERE event_id = ?"
        self._run(query, event_id)

    def interrupted(self, event_id: str) -> None:
        """Note that the work was ended in good order: this is no try that failed."""
        query = "UPDATE work SET tries = tries - 1 WHERE event_id = ? AND state = 'working'"
        self._run(query, event_id)

    def replied(self, event_id: str, reply_id: str) -> None:
        """Note the reply that stands in the thread."""
        self._run("UPDATE work SET reply_id = ? WHERE event_id = ?", reply_id, event_id)

    def settle(self, event_id: str, answer: str) -> None:
        """Put down the answer, before it is sent."""
        query = "UPDATE work SET state = 'answered', answer = ? WHERE event_id = ?"
        self._run(query, answer, event_id)

    def take_back(self, event_id: str) -> None:
        """Note that the message was deleted: it is not answered, and a reply that stands says so.

        What waits is dropped; what may have a reply is settled by DELETED.
        """
        drop = (
            "UPDATE work SET state = 'dropped', text = '' WHERE event_id = ? AND state = 'waiting'"
        )
        self._run(drop, event_id)
        query = "UPDATE work SET state = 'answered', answer = ? WHERE event_id = ? AND state IN "
        self._run(query + "('working', 'answered')", DELETED, event_id)

    def finish(self, event_id: str, state: State) -> None:
        """End it; the texts are not kept."""
        query = "UPDATE work SET state = ?, text = '', answer = NULL WHERE event_id = ?"
        self._run(query, state.value, event_id)

    def said(self, now: int) -> list[int]:
        """Return the times of what was said within a minute; none of them lies ahead."""
        self._heed_clock(now)
        query = "SELECT at_ms FROM said WHERE at_ms > ?"
        return [int(at) for (at,) in self._all(query, now - MINUTE_MS)]

    def say(self, now: int) -> None:
        """Count a message, before it is sent."""
        with self.transaction():
            self._run("DELETE FROM said WHERE at_ms <= ?", now - MINUTE_MS)
            self._run("INSERT INTO said (at_ms) VALUES (?)", now)

    def forget(self, now: int) -> None:
        """Remove what was done long ago."""
        self._heed_clock(now)
        query = "DELETE FROM work WHERE state IN ('done', 'dropped') AND taken_ms < ?"
        self._run(query, now - _KEPT_MS)

    def _heed_clock(self, now: int) -> None:
        """Put times that lie ahead down as now, once: the clock was put back since."""
        self._run("UPDATE work SET taken_ms = ? WHERE taken_ms > ?", now, now)
        self._run("UPDATE said SET at_ms = ? WHERE at_ms > ?", now, now)

    def _prepare(self) -> None:
        os.chmod(self.path, 0o600)  # noqa: PTH101 - the same file that SQLite has made
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
        elif version != _VERSION:
            raise self._error(f"it is of version {version}, and this program knows {_VERSION}")

    def _work(self, where: str, *values: str) -> list[Work]:
        rows = self._all(f"SELECT {_COLUMNS} FROM work WHERE {where}", *values)  # noqa: S608 - constants
        names = _COLUMNS.split(", ")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [Work(**{**each, "state": State(each["state"])}) for each in found]

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        return next(iter(self._all(query, *values)), None)

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._run(query, *values).fetchall()

    def _run(self, query: str, *values: object) -> sqlite3.Cursor:
        try:
            # Half a character has no form in UTF-8, and SQLite takes no text with one.
            whole = [whole_characters(v) if isinstance(v, str) else v for v in values]
            return self._db.execute(query, whole)
        except sqlite3.Error as error:
            raise self._error(str(error)) from error

    def _error(self, reason: str) -> InboxError:
        return InboxError(f"the inbox: {reason}", where=str(self.path))
