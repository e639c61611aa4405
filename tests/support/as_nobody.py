"""The account nobody, for servers that refuse to run as root."""

from __future__ import annotations

import os

AS_ROOT = os.geteuid() == 0


def as_nobody(argv: list[str]) -> list[str]:
    """The same command as nobody, where root runs the tests."""
    if not AS_ROOT:
        return argv
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", *argv]
