"""Screenshots of a run's tests: taken over from where the tests left them, bounded in all ways.

The tests could have written anything there, so only pictures of a bounded size are taken.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agency.files import write_atomically

FOLDER = "screenshots"
MAX_FILES = 60
MAX_BYTES = 2 * 1024 * 1024
_MAX_NAME = 80
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Album:
    """Screenshots below a run's artifacts."""

    artifacts: Path

    def take(self, source: Path, stage: str, test: str) -> tuple[str, str]:
        """Take a picture over; return its name below the artifacts, or empty with the reason."""
        folder = self.artifacts / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in folder.glob("*.png")) + 1
        if number > MAX_FILES:
            return "", f"there are {MAX_FILES} screenshots, and no more are kept"
        data = _read(source)
        if data is None:
            return "", f"no PNG of at most {MAX_BYTES} bytes"
        title = re.sub(r"[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")[:_MAX_NAME]
        name = f"{FOLDER}/{number:02}-{stage}-{title or 'test'}.png"
        write_atomically(self.artifacts / name, data, mode=0o600)
        return name, ""


def _read(source: Path) -> bytes | None:
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        data = file.read(MAX_BYTES + 1)
    return data if data.startswith(_PNG) and len(data) <= MAX_BYTES else None
