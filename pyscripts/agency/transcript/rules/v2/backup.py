"""Rule of the backup: what was lost after a snapshot is there again, and the audit log goes on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agency.transcript.rules.v1.rule import (
    Count,
    EventId,
    No,
    Path,
    ProbeRule,
    Seen,
    Sha256,
    Shape,
    Some,
    Yes,
    Zero,
    matches,
    only,
)
from agency.transcript.rules.v2.edge import Moment

# Without either of these no agency was restored; trees are those that a guest has.
NEEDED = ("store:control", "database:matrix-synapse")
UNITS = ("agency-backup.service", "agency-backup-verify.service")

_STARTS_WITHIN = timedelta(seconds=10)  # after its timer, on a busy machine

PartName = Annotated[
    Seen, matches(r"(?:store|database|tree):[a-z_][a-z0-9_-]*", "a part of a backup")
]
# As restic said it when it was made: older ones say the beginning alone.
SnapshotId = Annotated[Seen, matches(r"[0-9a-f]{8,64}", "the id of a snapshot")]


class Timer(Shape):
    """The timer of a unit, and when it last fired."""

    name: Literal["agency-backup.timer", "agency-backup-verify.timer"]
    fired_at: Moment


class Unit(Shape):
    """A unit that made or verified the snapshot, by systemd: root, with one capability."""

    name: Literal["agency-backup.service", "agency-backup-verify.service"]
    result: Literal["success"]
    user: Literal["root"]
    capabilities: Some[Literal["cap_dac_read_search"]]
    started_at: Moment
    timer: Timer

    @model_validator(mode="after")
    def _by_its_timer(self) -> Self:
        if self.timer.name.removesuffix(".timer") != self.name.removesuffix(".service"):
            raise ValueError("timer: another unit's")
        fired, began = map(datetime.fromisoformat, (self.timer.fired_at, self.started_at))
        if not timedelta(0) <= began - fired <= _STARTS_WITHIN:
            raise ValueError("startedAt: not when its timer fired")
        return self


class Lost(Shape):
    """Loss after the snapshot: a message of the homeserver's, and the store."""

    event_id: EventId
    rows_left: Zero
    store: Path
    store_left: No


class Found(Shape):
    """The same message after the restoration, in the database and by the homeserver."""

    event_id: EventId
    rows: Annotated[int, only(1)]
    body: Seen


class Command(Shape):
    """A command that was answered after the restoration."""

    said: Seen
    event_id: EventId
    reply_id: EventId
    ok: Yes


class Part(Shape):
    """A part that was restored: rows or files in the snapshot, and on the machine after it."""

    part: PartName
    counted: Annotated[int, Field(ge=0)]
    before: Annotated[int, Field(ge=0)]
    after: Annotated[int, Field(ge=0)]
    same: Yes

    @model_validator(mode="after")
    def _same(self) -> Self:
        if self.before != self.after:
            raise ValueError(f"after: {self.part} has another number than the snapshot")
        if self.part in NEEDED and not self.after:
            raise ValueError(f"after: {self.part} is empty")
        return self


class Head(Shape):
    """End of the audit log."""

    count: Count
    head: Sha256


class BackupRestored(Shape):
    """A snapshot, a damage, and the restoration of that snapshot in place."""

    units: Some[Unit]
    lost: Lost
    found: Found
    ready: Yes
    command: Command
    host: Seen
    instance: Annotated[Seen, matches(r"[a-z][a-z0-9-]{0,62}", "a name")]
    made: SnapshotId
    snapshot: Sha256
    created_at: Moment
    restored_at: Moment
    parts: Some[Part]
    audit_before: Head
    audit_after: Head
    continues: Count

    @model_validator(mode="after")
    def _this_one(self) -> Self:
        if tuple(one.name for one in self.units) != UNITS:
            raise ValueError(f"units: not {' and '.join(UNITS)}, in this order")
        if not self.snapshot.startswith(self.made):
            raise ValueError("snapshot: not the one that the unit made")
        if not datetime.fromisoformat(self.created_at) < datetime.fromisoformat(self.restored_at):
            raise ValueError("restoredAt: not after the snapshot")
        if self.found.event_id != self.lost.event_id:
            raise ValueError("found.eventId: not the message that was lost")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [one.part for one in self.parts]
        if len(set(names)) != len(names):
            raise ValueError("parts: one comes twice")
        missing = sorted({*NEEDED} - {*names})
        if missing:
            raise ValueError(f"parts: lack {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.audit_after != self.audit_before:
            raise ValueError("auditAfter: not the end that the snapshot names")
        if self.continues <= self.audit_before.count:
            raise ValueError("continues: no row follows the restored ones")
        return self


RULES = (
    ProbeRule(
        "backup.restored",
        "What was lost after a backup is restored in place from its snapshot, part for part; the "
        "control plane obeys again, and the audit log goes on from the end that the snapshot "
        "names.",
        BackupRestored,
        frozenset(),
    ),
)
