"""Probes of the machine: processes while they run, their remains, and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from agency import quarantine
from agency.children import processes_with_marker
from agency.ports import is_listening
from agency.spinup.probes.homeserver import rss_mb
from agency.spinup.probes.probe import Here, Nothing, Pids, probe
from agency.spinup.record import Evidence

OFFLINE_MODES = ("network-namespace", "guest")


def only_loopback() -> bool:
    """Tell whether this process sees no network interface but loopback."""
    return quarantine.interfaces() == ["lo"]


@probe("system.processes", Pids)
def processes(_here: Here, told: Pids) -> Evidence:
    """List name, pid and resident memory of processes."""
    return {
        "running": [
            {"name": name, "pid": pid, "rssMb": rss_mb(pid)}
            for name, pid in sorted(told.pids.items())
        ]
    }


def teardown(marker: str, ports: Iterable[int], directory: Path) -> Evidence:
    """Count the remains of a run: processes with its marker, open ports, files."""
    left = [path for path in directory.rglob("*") if path.is_file()] if directory.exists() else []
    return {
        "processesLeft": len(processes_with_marker(marker)),
        "socketsLeft": sum(is_listening(port) for port in ports),
        "filesLeft": len(left),
    }


@probe("quarantine.outbound", Nothing)
def outbound_here(_here: Here, _told: Nothing) -> Evidence:
    """Attempt to leave the machine, where it has no interface but loopback."""
    offline = only_loopback()
    mode = "guest" if offline else "none"
    return outbound(quarantine.Quarantine(mode, None if offline else "there are interfaces"))


def outbound(state: quarantine.Quarantine) -> Evidence:
    """Attempt to leave a namespace or a guest with only loopback; elsewhere none is made."""
    inside = state.mode in OFFLINE_MODES
    attempts = quarantine.attempt_outbound() if inside else []
    own = (Path("/proc/self/ns/net")).readlink().name
    return {
        "mode": state.mode,
        "reason": state.reason,
        "namespace": own,
        "interfaces": quarantine.interfaces(),
        "attempts": [asdict(attempt) for attempt in attempts],
    }
