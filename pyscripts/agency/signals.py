"""Signals that ask a program to stop."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a program that has just begun to stop.

    SIGTERM always; SIGINT unless it is ignored. A shell without job control ignores SIGINT for a
    background job, because the terminal's Ctrl-C, meant for another program, reaches the job too
    (POSIX, shell command language, 2.11).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGINT)
