"""The local agency of this user: does it run, and is it well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.errors import AgencyError
from agency.spinup import observe_local_agency

_TIMEOUT_S = 20.0


def look_at_local_agency(subject: Subject) -> Iterator[Finding]:  # noqa: ARG001 - one signature
    """Ask the local agency how it is, as `agency status` does."""
    try:
        status = asyncio.run(asyncio.wait_for(observe_local_agency(), _TIMEOUT_S))
    except TimeoutError:
        yield bad("local agency", f"gave no answer in {_TIMEOUT_S:g} s", "agency down")
        return
    except AgencyError as error:
        yield bad("local agency", error.message, error.hint or "agency status")
        return
    if not status.running:
        told = "does not run"
        if status.kept is not None:
            yield note("local agency", f"{told}; its data is kept at {status.kept}", "agency up")
        else:
            yield ok("local agency", told)
        return
    if status.ready:
        yield ok("local agency", "runs and is ready")
    for reason in () if status.ready else status.reasons or ("is not ready",):
        yield bad("local agency", reason, "agency status; to stop it: agency down")
    for warning in status.warnings:
        yield note("local agency", warning, "agency status")
