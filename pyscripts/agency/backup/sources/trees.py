"""Trees of files: what they hold, and who owns it."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Survey:
    """Files, bytes and owners that a look at a tree found; `uid`, `gid`, `mode` are its top's."""

    present: bool = False
    files: int = 0
    size: int = 0
    uid: int = 0
    gid: int = 0
    mode: int = 0o700
    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)

    def note(self, facts: os.stat_result) -> None:
        """Note an owner."""
        self.uids.add(facts.st_uid)
        self.gids.add(facts.st_gid)


def survey(path: Path) -> Survey:
    """Look at a tree; a file that goes meanwhile is left out."""
    found = Survey()
    try:
        top = path.stat()
    except FileNotFoundError:
        return found
    found.present, found.uid, found.gid, found.mode = True, top.st_uid, top.st_gid, top.st_mode
    found.mode &= 0o7777
    found.note(top)
    for directory, folders, files in os.walk(path):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                found.note(facts := os.lstat(Path(directory) / name))
                if name in files:
                    found.files += 1
                    found.size += facts.st_size
    return found


def user_names(uids: Iterable[int]) -> dict[int, str]:
    """Name users by their numbers; those without a name are left out."""
    found = {}
    for uid in uids:
        with suppress(KeyError):
            found[uid] = pwd.getpwuid(uid).pw_name
    return found


def group_names(gids: Iterable[int]) -> dict[int, str]:
    """Name groups by their numbers; those without a name are left out."""
    found = {}
    for gid in gids:
        with suppress(KeyError):
            found[gid] = grp.getgrgid(gid).gr_name
    return found
