"""Probes of the homeserver."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from agency.spinup.probes.probe import Here, Nothing, Pid, probe
from agency.spinup.record import Evidence

_ARGV_SHOWN = 3  # an interpreter, and what it runs


async def versions(session: aiohttp.ClientSession, url: str) -> Evidence:
    """Get `/_matrix/client/versions`, with the server's own name and version from its header."""
    asked = f"{url}/_matrix/client/versions"
    async with session.get(asked) as answer:
        body = await answer.json()
        product = answer.headers.get("Server", "")
        return {
            "url": asked,
            "status": answer.status,
            "versions": body.get("versions", []),
            "serverVersion": product.removeprefix("Synapse/").split(" ")[0],
        }


class OnePid(Nothing):
    """One process."""

    pid: Pid


@probe("homeserver.process", OnePid)
def process(_here: Here, told: OnePid) -> Evidence:
    """Describe the process behind a service as the kernel shows it, with the begin of its argv."""
    base = Path("/proc") / str(told.pid)
    argv = (base / "cmdline").read_bytes().removesuffix(b"\0").split(b"\0")
    return {
        "pid": told.pid,
        "alive": base.exists(),
        "executable": str((base / "exe").readlink()),
        "argv0": argv[0].decode(errors="replace"),
        "argv": [item.decode(errors="replace") for item in argv[:_ARGV_SHOWN]],
    }


def rss_mb(pid: int) -> float:
    """Read the resident memory of a process, in MiB; 0 when it has ended."""
    try:
        status = (Path("/proc") / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
