"""The secrets: is there a key on this machine that opens them, and what else is wrong."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.instance import LoadedInstance, diagnose_secrets
from agency.secrets import Diagnosis, set_command


def look_at_secrets(subject: Subject) -> Iterator[Finding]:
    """Look whether the age key fits, and at the values, as `agency secrets doctor` does."""
    loaded = subject.load()
    if loaded is None:
        return
    if loaded.instance.secrets.provider == "ephemeral":
        yield ok("secrets", "are made for each run; there is no key")
        return
    found = diagnose_secrets(loaded, subject.age_key)
    yield from _key(found)
    yield from _values(found, loaded)


def _key(found: Diagnosis) -> Iterator[Finding]:
    error = found.decrypt_error
    if error is None:
        yield ok("age key", "opens the secrets on this machine")
    else:
        yield bad("age key", error.message, error.hint or "name the key: --age-key FILE")
    for warning in found.warnings:
        yield note("age key", warning)


def _values(found: Diagnosis, loaded: LoadedInstance) -> Iterator[Finding]:
    root = shlex.quote(str(loaded.root))
    whole = f"agency secrets doctor {root}"
    for fault in found.faults:
        tell = bad if fault.fatal else note
        remedy = set_command(fault.name, loaded.root)
        yield tell(f"secret {fault.name}", fault.message, remedy)
    if found.missing:
        names = ", ".join(spec.name for spec in found.missing)
        yield bad("secrets", f"missing: {names}", f"{whole} tells how to make each")
    if found.former:
        told = f"{len(found.former)} former recipients can read later values"
        yield bad("secrets", told, f"agency secrets rekey {root}")
    if found.overdue:
        names = ", ".join(one.spec.name for one in found.overdue)
        yield note("secrets", f"overdue for rotation: {names}", f"{whole} tells how")
