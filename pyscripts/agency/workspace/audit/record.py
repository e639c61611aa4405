"""One record of the log, and its chain. Pure.

Record n holds the hash of record n-1, and its own hash covers every field, its number and its
agent included. The first record's `previous` is bound to the agent's name. The chain goes on
across files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agency import chain
from agency.canonical import canonical_json
from agency.chain import Head

# What the service itself puts on record.
BEGUN = "log.begun"  # the first record of a file
OPENED = "log.opened"  # the service was started and goes on with a file
CLOSED = "log.closed"  # the last record of a file
TORN = "log.torn"  # what followed the last whole record was put aside
REMOVED = "log.removed"  # a file is past its retention


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `at` is RFC 3339 in UTC; `uid` and `pid` are the sender's, by the kernel."""

    agent: str
    sequence: int
    at: str
    uid: int
    pid: int
    event: str
    detail: dict[str, Any]
    previous: str
    hash: str

    def line(self) -> bytes:
        """Encode the record as it stands in the file: canonical JSON and a newline."""
        return canonical_json(asdict(self)) + b"\n"


@dataclass(frozen=True, slots=True)
class Sender:
    """Sender of an event: user and process, as the kernel saw them when the connection was made."""

    uid: int
    pid: int


_ADAPTER = TypeAdapter(Record)


def genesis(agent: str) -> Head:
    """Make the head that the first record of an agent's log follows."""
    return chain.genesis("agency/agent-audit/1", agent=agent)


def next_record(
    head: Head, agent: str, at: str, sender: Sender, event: str, detail: Mapping[str, Any]
) -> Record:
    """Make the record that follows `head`."""
    record = Record(
        agent=agent,
        sequence=head.sequence + 1,
        at=at,
        uid=sender.uid,
        pid=sender.pid,
        event=event,
        detail=dict(detail),
        previous=head.hash,
        hash="",
    )
    return chain.sealed(record)


def parse_record(line: bytes) -> Record:
    """Parse one line into a record.

    Raises:
        ValueError: it is not exactly the line of a record, or its hash is wrong.
    """
    try:
        record = _ADAPTER.validate_json(line, strict=True)
    except ValidationError:
        raise ValueError("is not a record") from None
    # One value has one form: white space, another order or a key twice are edits too.
    try:
        if record.line() != line:
            raise ValueError("is not in the form in which records are written")
    except UnicodeEncodeError:
        raise ValueError("is not a record") from None
    if record.hash != chain.link_hash(record):
        raise ValueError("was edited: its hash is not that of its fields")
    return record
