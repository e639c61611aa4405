"""Probe of the program that looks: its version, and the digest of each of its files."""

from __future__ import annotations

from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.program import this_program
from agency.spinup.record import Evidence


@probe("agency.program", Nothing)
def program(_here: Here, _told: Nothing) -> Evidence:
    """List the digests of this program's files."""
    return this_program().model_dump()
