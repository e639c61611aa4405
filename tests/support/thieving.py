"""Attempts of a tool server that was taken over, and what comes of them."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_libc = ctypes.CDLL(None, use_errno=True)


def _trace(pid: int) -> str:
    if _libc.ptrace(_PTRACE_ATTACH, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0)
    _libc.ptrace(_PTRACE_DETACH, pid, None, None)
    return "traced"


def _signal(pid: int) -> str:
    os.kill(pid, 0)  # whether it might
    os.kill(pid, signal.SIGCONT)
    return "signalled"


def _read(path: str) -> str:
    return Path(path).read_bytes()[:4096].decode(errors="replace")


def _move(paths: str) -> str:
    old, new = paths.split(":")
    Path(old).rename(new)
    return "moved"


def _write(path: str) -> str:
    Path(path).write_text("mine")
    return "written"


def _remove(path: str) -> str:
    Path(path).unlink()
    return "removed"


def _child(_: str) -> str:
    """Signal and trace a child of its own: what it may."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        return f"{_signal(pid)} {_trace(pid)}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def attempt(what: str, on: str) -> str:
    """Try one thing; return what came of it."""
    tries = {"read": _read, "write": _write, "remove": _remove, "move": _move, "child": _child}
    try:
        if what in tries:
            return tries[what](on)
        return {"signal": _signal, "trace": _trace}[what](int(on))
    except PermissionError as error:
        return f"refused: {error.strerror}"
