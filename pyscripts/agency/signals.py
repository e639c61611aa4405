"""Signals that ask a program to stop."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a program that has just started.

    SIGTERM always; SIGINT unless it is ignored. A shell without job control ignores it for a
    background job, because Ctrl-C, meant for the foreground program, reaches the job too (POSIX,
    shell command language, 2.11).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGINT)
