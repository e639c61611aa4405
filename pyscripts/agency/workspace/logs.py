"""Logs that runs leave in a directory: the newest are kept, within bounds."""

from __future__ import annotations

import contextlib
from pathlib import Path

MOST_LOGS = 100
MOST_BYTES = 1024**3  # of all of them together


def prune(folder: Path, pattern: str) -> None:
    """Remove the oldest logs beyond the bounds; the newest stays, and links are left alone."""
    with contextlib.suppress(OSError):
        found = [(path, path.lstat()) for path in folder.glob(pattern) if not path.is_symlink()]
        total = 0
        newest = sorted(found, key=lambda each: each[1].st_mtime, reverse=True)
        for number, (path, facts) in enumerate(newest):
            total += facts.st_size
            if number >= MOST_LOGS or (number and total > MOST_BYTES):
                path.unlink()
