"""Description of the machine that a spin-up runs on; no host name, user name or address."""

from __future__ import annotations

import os
import platform

KIB = 1024


def environment() -> dict[str, object]:
    """Describe system, kernel, processor and memory, as the transcript records them."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        system = platform.system()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "os": system,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count() or 1,
        "memoryMb": memory // (KIB * KIB),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
    }
