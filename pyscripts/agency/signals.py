"""Signals that ask a program to stop."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals by which a program that has just begun is to stop.

    SIGTERM always. SIGINT unless it is ignored: a shell without job control starts a background
    job so, because the terminal's Ctrl-C, meant for another program, reaches the job too
    (POSIX, shell command language, 2.11).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGINT)
