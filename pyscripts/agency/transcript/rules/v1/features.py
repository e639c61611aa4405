"""The features that tests/guest shows, one file each, and that a guest's transcript needs."""

from __future__ import annotations

# The files of the suite, without their suffix: what is known of a machine's isolation when each has
# at least one test that passed.
FEATURES: tuple[str, ...] = (
    "test_agents_users",
    "test_audit",
    "test_confinement",
    "test_egress",
    "test_limits",
    "test_network",
    "test_polkit",
    "test_ports",
    "test_processes",
    "test_recovery",
    "test_secrets",
    "test_system",
    "test_units",
)

# Those that are shown without disturbing anybody, as on a host at work.
SHOWN_READ_ONLY: tuple[str, ...] = ("test_agents_users", "test_system", "test_units")
