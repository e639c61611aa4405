"""What is seen of the machine: our processes while they run, and nothing after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from agency import quarantine
from agency.children import processes_with_marker
from agency.ports import is_listening
from agency.spinup.probes.homeserver import rss_mb
from agency.spinup.record import Evidence

OFFLINE_MODES = ("network-namespace", "guest")


def only_loopback() -> bool:
    """Whether this process sees no network interface but loopback."""
    return quarantine.interfaces() == ["lo"]


def processes(named: Mapping[str, int]) -> Evidence:
    """Name, pid and resident memory of what runs."""
    return {
        "running": [
            {"name": name, "pid": pid, "rssMb": rss_mb(pid)} for name, pid in sorted(named.items())
        ]
    }


def teardown(marker: str, ports: Iterable[int], directory: Path) -> Evidence:
    """What is left of a run: processes with its marker, open ports, files."""
    left = [path for path in directory.rglob("*") if path.is_file()] if directory.exists() else []
    return {
        "processesLeft": len(processes_with_marker(marker)),
        "socketsLeft": sum(is_listening(port) for port in ports),
        "filesLeft": len(left),
    }


def outbound(state: quarantine.Quarantine) -> Evidence:
    """Attempts to leave a namespace or a guest with only loopback; elsewhere none is made."""
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
