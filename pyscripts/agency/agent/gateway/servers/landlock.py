"""Launcher that takes files away from a program before it becomes it: Landlock of the kernel.

    gateway ─▶ setpriv, prlimit ─▶ python -I -S landlock.py FENCE PROGRAM ... ─▶ PROGRAM ...

All that its user may is allowed but for the hidden places, so that a tool server needs nothing
declared. In a domain of its own it neither traces nor reads the memory or environment of anything
outside, and from Linux 6.12 on it signals nothing there. A step that fails ends it: the program is
never run without its fence.

Run as a file, it imports the standard library alone: it is read at each start of a server.

Sources: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator

FILES_ABI, SIGNALS_ABI = 2, 6  # Linux 5.19: files may be moved between directories; Linux 6.12
FAILED = 126
MOST_RULES = 20_000

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture that we run on
_VERSION = 1
_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_OF_FILES = 0b111  # execute, write, read
_READ_DIR = 1 << 3
_TRUNCATE = 1 << 14
_SCOPES = 0b11  # sockets without a path, signals

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Return the version of Landlock that the kernel offers; 0 for none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def shown(hidden: frozenset[str], top: str = "/") -> Iterator[str]:
    """Yield the places that make up all below `top` but for the hidden ones, which are real paths.

    What is made later in a directory above a hidden one is not among them.
    """
    try:
        entries = os.scandir(top)
    except (FileNotFoundError, PermissionError):  # then all below it stays hidden
        return
    with entries:
        for entry in entries:
            if entry.path in hidden or entry.is_symlink():  # its target has a place of its own
                continue
            if any(each.startswith(f"{entry.path}/") for each in hidden):
                yield from shown(hidden, entry.path)
            else:
                yield entry.path


def restrict(hidden: frozenset[str], opened: list[str]) -> None:
    """Take the hidden places away from this process for good; `opened` may lie below them.

    Raises:
        OSError: the kernel refused. ValueError: there are too many places.
    """
    version = abi()
    if version < FILES_ABI:
        raise OSError(0, "the kernel offers no Landlock of files")
    files = _OF_FILES | (_TRUNCATE if version >= 3 else 0)
    every = files | ((1 << 14) - 1)
    scoped = _SCOPES if version >= SIGNALS_ABI else 0
    size = ctypes.sizeof(_Ruleset) if scoped else 8
    ruleset = _Ruleset(every, 0, scoped)
    made = _done(_libc.syscall(_CREATE, ctypes.byref(ruleset), ctypes.c_size_t(size), 0))
    _allow(made, "/", _READ_DIR)  # names alone: programs look for their parts in directories
    for number, path in enumerate((*opened, *shown(hidden))):
        if number > MOST_RULES:
            raise ValueError(f"more than {MOST_RULES} places lie beside what is hidden")
        _allow(made, path, every if os.path.isdir(path) else files)  # noqa: PTH112 - few imports
    _done(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _done(_libc.syscall(_RESTRICT, made, 0))
    os.close(made)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):  # gone meanwhile, or not this user's to reach
        return
    try:
        rule = _Beneath(access, place)
        _done(_libc.syscall(_ADD, ruleset, _BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(place)


def _done(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def main(argv: list[str]) -> int:
    """Restrict this process, and become the program; return only where that fails."""
    try:
        fence = json.loads(argv[0])
        restrict(frozenset(fence["hidden"]), fence["opened"])
        os.execvp(argv[1], argv[1:])  # noqa: S606 - it becomes the program
    except (OSError, ValueError, LookupError) as error:
        sys.stderr.write(f"not started: it cannot be fenced, or not run: {error}\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
