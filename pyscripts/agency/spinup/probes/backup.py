"""The probe `backup.restored`: the last restore in place, and the audit log since then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from agency.backup import SETTINGS_FILE, last_success, load_settings, restored_evidence
from agency.clock import iso
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.record import Evidence

PROBE = "backup.restored"
_Counts = Mapping[str, Mapping[str, int]]


@probe(PROBE, Nothing)
def restored(_here: Here, _told: Nothing) -> Evidence:
    """Tell of the last restore in place, and look whether the audit log goes on from its head."""
    settings = load_settings(SETTINGS_FILE)
    seen = restored_evidence(settings)
    made = last_success(settings)
    before, after = cast("_Counts", seen["before"]), cast("_Counts", seen["after"])
    return {
        "host": settings.host,
        "instance": seen["instance"],
        "made": None if made is None else made.snapshot,
        "snapshot": seen["snapshot"],
        "createdAt": iso(cast("float", seen["createdAt"])),
        "restoredAt": iso(cast("float", seen["restoredAt"])),
        "parts": [_part(name, counts, after[name]) for name, counts in before.items()],
        "auditBefore": seen["auditBefore"],
        "auditAfter": seen["auditAfter"],
        "continues": seen["continues"],
    }


def _part(name: str, before: Mapping[str, int], after: Mapping[str, int]) -> Evidence:
    """Sum up the rows of a part's tables, or the files and bytes of a tree."""
    return {
        "part": name,
        "counted": len(before),
        "before": sum(before.values()),
        "after": sum(after.values()),
        "same": before == after,
    }
