"""The checks, in the order in which a person reads them."""

from __future__ import annotations

from agency.doctor.finding import Check
from agency.doctor.instance import find_problems, look_at_git, look_at_links
from agency.doctor.local import look_at_local_agency
from agency.doctor.machine import look_at_clock, look_at_limits, look_at_loopback
from agency.doctor.programs import look_at_programs
from agency.doctor.secrets import look_at_secrets
from agency.doctor.storage import look_at_directories, look_at_locks, look_at_space

CHECKS = (
    Check("programs", look_at_programs),
    Check("directories", look_at_directories),
    Check("locks", look_at_locks),
    Check("space", look_at_space),
    Check("loopback", look_at_loopback),
    Check("clock", look_at_clock),
    Check("limits", look_at_limits),
    Check("instance", find_problems),
    Check("links", look_at_links),
    Check("git", look_at_git),
    Check("secrets", look_at_secrets),
    Check("local agency", look_at_local_agency),
)
