"""Resources that the processes of sessions use, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from agency.children import stat_fields
from agency.control.runtimes.base import Usage

_SESSION, _TIMES, _RESIDENT = 3, slice(11, 15), 21  # proc(5), counted from the state


def session_usage(*sessions: int) -> Usage:
    """Sum memory and processor time of sessions' processes, with their ended children's time.

    Memory that several processes share is counted for each.
    """
    pages = ticks = seen = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat_fields(int(entry.parent.name))
        except OSError:  # it ended in the meantime
            continue
        if len(fields) <= _RESIDENT or int(fields[_SESSION]) not in sessions:
            continue
        seen += 1
        ticks += sum(int(field) for field in fields[_TIMES])
        pages += int(fields[_RESIDENT])
    if not seen:
        return Usage()
    return Usage(memory=pages * os.sysconf("SC_PAGE_SIZE"), cpu_s=ticks / os.sysconf("SC_CLK_TCK"))
