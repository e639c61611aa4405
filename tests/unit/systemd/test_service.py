"""What systemd's properties mean."""

from __future__ import annotations

from typing import Any

import pytest

from agency.systemd.service import UnitState, service_properties, tells_readiness

UNSET = 2**64 - 1
UNIT = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "InvocationID": bytes(range(16)),
}
SERVICE = {
    "Result": "success",
    "MainPID": 42,
    "ExecMainStartTimestamp": 1_800_000_000_500_000,
    "ExecMainExitTimestamp": 0,
    "ExecMainCode": 0,
    "ExecMainStatus": 0,
    "NRestarts": 3,
    "MemoryCurrent": 1_000_000,
    "CPUUsageNSec": 2_500_000_000,
    "TasksCurrent": 4,
}


def properties(unit: dict[str, Any] | None = None, **service: Any) -> Any:
    return service_properties({**UNIT, **(unit or {})}, {**SERVICE, **service})


def test_a_running_service() -> None:
    seen = properties()
    assert (seen.running, seen.will_restart, seen.pid) == (True, False, 42)
    assert (seen.memory, seen.cpu_ns, seen.tasks) == (1_000_000, 2_500_000_000, 4)
    assert (seen.restarts, seen.exit_status) == (3, None)
    assert seen.started_at == pytest.approx(1_800_000_000.5)
    assert seen.invocation == bytes(range(16)).hex()


def test_what_is_not_counted_is_unknown_and_not_a_large_number() -> None:
    seen = properties(MemoryCurrent=UNSET, CPUUsageNSec=UNSET, TasksCurrent=UNSET)
    assert (seen.memory, seen.cpu_ns, seen.tasks) == (None, None, None)


@pytest.mark.parametrize(
    ("code", "status", "expected"), [(1, 0, 0), (1, 7, 7), (2, 9, -9), (3, 6, -6)]
)
def test_how_it_ended(code: int, status: int, expected: int) -> None:
    ended = {"ExecMainExitTimestamp": 5, "ExecMainCode": code, "ExecMainStatus": status}
    assert properties(MainPID=0, **ended).exit_status == expected
    assert properties(**ended).exit_status is None, "a process runs: that was an earlier one"


def test_a_service_that_never_ran() -> None:
    seen = properties(
        {"ActiveState": "inactive", "InvocationID": b""}, MainPID=0, ExecMainStartTimestamp=0
    )
    assert (seen.running, seen.started_at, seen.exit_status) == (False, None, None)
    assert seen.invocation is None


@pytest.mark.parametrize("sub", ["auto-restart", "auto-restart-queued"])
def test_a_service_that_will_be_started_again_does_not_run(sub: str) -> None:
    seen = properties({"ActiveState": "activating", "SubState": sub}, MainPID=0)
    assert (seen.running, seen.will_restart) == (False, True)
    assert UnitState("x", "loaded", "activating", sub).retrying
    assert not UnitState("x", "loaded", "activating", "start").retrying


@pytest.mark.parametrize(
    ("active", "up"),
    [("active", True), ("reloading", True), ("activating", False), ("failed", False)],
)
def test_a_unit_is_up_when_it_does_what_it_is_for(active: str, up: bool) -> None:
    assert UnitState("x", "loaded", active, "x").up is up


@pytest.mark.parametrize(
    ("service_type", "tells"),
    [("notify", True), ("forking", True), ("oneshot", True), ("exec", False), ("simple", False)],
)
def test_a_program_that_is_merely_started_does_not_tell_that_it_is_ready(
    service_type: str, tells: bool
) -> None:
    assert tells_readiness(service_type) is tells
