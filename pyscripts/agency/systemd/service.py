"""State of a unit as systemd reports it, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNKNOWN = 2**64 - 1  # what systemd says of a counter that is off
_MICRO = 1e-6
_CLD_EXITED = 1  # waitid(2): how a process ended
_MERELY_STARTED = ("simple", "exec", "idle")
_WITH_PROCESS = ("active", "activating", "deactivating", "reloading")


@dataclass(frozen=True, slots=True)
class UnitState:
    """State of a unit in systemd. `once` if it runs, ends, and is then inactive.

    `tells` if an active unit is a ready one; a program that is merely started (Type=simple, exec or
    idle) may be active before it is ready.
    """

    name: str
    load: str
    active: str
    sub: str
    once: bool = False
    stale: bool = False  # its definition on disk is another than the loaded one
    restarts: int = 0
    up_s: float = 0.0  # for how long it has been active
    tells: bool = True

    @property
    def up(self) -> bool:
        """True if the unit does its work."""
        return self.active in {"active", "reloading"}

    @property
    def retrying(self) -> bool:
        """True if the service ended and systemd is about to start it again."""
        return about_to_restart(self.sub)


@dataclass(frozen=True, slots=True)
class ServiceProperties:
    """Properties of a service; None for a figure that systemd does not count or know.

    Memory in bytes, processor time in nanoseconds, times in seconds since the epoch. Exit status:
    negative for the number of a signal.
    """

    load_state: str
    active_state: str
    sub_state: str
    result: str
    pid: int | None
    started_at: float | None
    exit_status: int | None
    restarts: int
    memory: int | None
    cpu_ns: int | None
    tasks: int | None
    invocation: str | None

    @property
    def running(self) -> bool:
        """True if the main process runs, or is about to."""
        return self.pid is not None and may_have_process(self.active_state)

    @property
    def will_restart(self) -> bool:
        """True if the service ended and systemd is about to start it again."""
        return about_to_restart(self.sub_state)


def service_properties(unit: Mapping[str, Any], service: Mapping[str, Any]) -> ServiceProperties:
    """Read the properties of the interfaces Unit and Service, given as plain values."""

    def known(value: int) -> int | None:
        return None if value == _UNKNOWN else value

    ended = service["ExecMainExitTimestamp"] > 0 and not service["MainPID"]
    exited = service["ExecMainCode"] == _CLD_EXITED
    status = service["ExecMainStatus"] if exited else -service["ExecMainStatus"]
    started = service["ExecMainStartTimestamp"]
    return ServiceProperties(
        load_state=unit["LoadState"],
        active_state=unit["ActiveState"],
        sub_state=unit["SubState"],
        result=service["Result"],
        pid=service["MainPID"] or None,
        started_at=started * _MICRO if started else None,
        exit_status=status if ended else None,
        restarts=service["NRestarts"],
        memory=known(service["MemoryCurrent"]),
        cpu_ns=known(service["CPUUsageNSec"]),
        tasks=known(service["TasksCurrent"]),
        invocation=bytes(unit["InvocationID"]).hex() or None,
    )


def tells_readiness(service_type: str) -> bool:
    """Return whether a service of that type is active only once it is ready."""
    return service_type not in _MERELY_STARTED


def may_have_process(active_state: str) -> bool:
    """Return whether a unit in that state can have a main process."""
    return active_state in _WITH_PROCESS


def about_to_restart(sub_state: str) -> bool:
    """Return whether a service in that sub-state has ended and will be started again."""
    return sub_state.startswith("auto-restart")
