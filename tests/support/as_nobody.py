"""The account nobody: for servers that refuse to run as root, and for files that are hidden."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AS_ROOT = os.geteuid() == 0
_UID = 65534


def as_nobody(argv: list[str]) -> list[str]:
    """The same command as nobody, where root runs the tests."""
    if not AS_ROOT:
        return argv
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", *argv]


@contextmanager
def hiding_place() -> Iterator[Path]:
    """A directory in which modes count: this process is nobody meanwhile, where root runs it."""
    with tempfile.TemporaryDirectory() as made:
        if AS_ROOT:
            os.chown(made, _UID, _UID)
            os.seteuid(_UID)
        try:
            yield Path(made)
        finally:
            if AS_ROOT:
                os.seteuid(0)
