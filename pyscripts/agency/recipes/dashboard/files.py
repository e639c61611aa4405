"""Files of a run: regular ones below its directory, never through a link.

A recipe's own tests write there with the rights of whoever runs them, so each step of a path is
opened without following links, and a file that has a second name elsewhere is not shown.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agency.errors import AgencyError
from agency.recipes.naming import is_run_id

LOGS, SCREENSHOTS, RESULT = "logs", "screenshots", "result.json"
MOST_FILES = 500
MOST_RESULT = 4 * 1024 * 1024
_MOST_DEPTH = 5
_LOG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# The order in which a run writes them; others come before the last.
_FIRST = ("progress", "run", "install", "upgrade", "backup", "custom")
_LAST = ("teardown",)

IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
_TEXTS = (".txt", ".log", ".md", ".yml", ".yaml", ".xml", ".csv", ".toml")


class NoFileError(AgencyError):
    """File that is not there, or that may not be shown."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a run by its path below the run's directory, with its size in bytes."""

    path: str
    size: int

    @property
    def kind(self) -> str:
        """Suffix of its name, in small letters."""
        return Path(self.path).suffix.lower()

    @property
    def content_type(self) -> str:
        """Type that a browser is told: what could run scripts is none of these."""
        if self.kind == ".json":
            return "application/json"
        if self.kind in _TEXTS:
            return "text/plain"
        return IMAGES.get(self.kind, "application/octet-stream")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The directory of one run; it need not be there."""

    base: Path
    run: str

    def __post_init__(self) -> None:
        if not is_run_id(self.run):
            raise NoFileError("no run has this id", where=self.run[:40])

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[tuple[int, Found]]:
        """Open a file for the length of a block; its descriptor, and what was found.

        Raises:
            NoFileError: there is none, or it is no regular file of the run's own.
        """
        parts = path.split("/")
        if not all(map(_is_name, parts)) or len(parts) > _MOST_DEPTH:
            raise NoFileError("not the path of a file of this run", where=path[:200])
        with contextlib.ExitStack() as stack:
            yield self._opened(stack, path, parts)

    def _opened(
        self, stack: contextlib.ExitStack, path: str, parts: Sequence[str]
    ) -> tuple[int, Found]:
        try:
            at = self._directory(stack, parts[:-1])
            file = os.open(parts[-1], _STEP | os.O_NONBLOCK, dir_fd=at)
            stack.callback(os.close, file)
            facts = os.fstat(file)
        except OSError as error:
            raise NoFileError(f"cannot open it: {error.strerror}", where=path[:200]) from error
        if not _is_own(facts):
            raise NoFileError("no regular file of this run", where=path[:200])
        return file, Found(path, facts.st_size)

    def _directory(self, stack: contextlib.ExitStack, parts: Sequence[str]) -> int:
        at = os.open(self.base / self.run, _STEP | os.O_DIRECTORY)
        stack.callback(os.close, at)
        for part in parts:
            at = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=at)
            stack.callback(os.close, at)
        return at

    def read(self, path: str, most: int) -> bytes:
        """Read a small file.

        Raises:
            NoFileError: as `open`; or it is too large.
        """
        with self.open(path) as (file, found):
            if found.size > most:
                raise NoFileError(f"larger than {most} bytes", where=path)
            return os.pread(file, most, 0)

    def logs(self) -> tuple[Found, ...]:
        """List the logs in the order in which a run writes them; `path` is the name alone."""
        found = (
            Found(one.path.removeprefix(f"{LOGS}/").removesuffix(".log"), one.size)
            for one in self._below(LOGS, 1)
            if one.path.endswith(".log")
        )
        return tuple(sorted((one for one in found if _LOG.match(one.path)), key=_order))

    def listing(self) -> tuple[Found, ...]:
        """List all other files, at most MOST_FILES."""
        found = []
        for one in self._below("", _MOST_DEPTH):
            if not one.path.startswith(f"{LOGS}/"):
                found.append(one)
                if len(found) == MOST_FILES:
                    break
        return tuple(sorted(found, key=lambda each: each.path))

    def _below(self, directory: str, depth: int) -> Iterator[Found]:
        parts = directory.split("/") if directory else []
        try:
            with contextlib.ExitStack() as stack:
                at = self._directory(stack, parts)
                with os.scandir(at) as entries:
                    names = sorted(each.name for each in islice(entries, 4 * MOST_FILES))
                facts = [(name, os.stat(name, dir_fd=at, follow_symlinks=False)) for name in names]
        except OSError:  # gone meanwhile, or never there: there is nothing to list
            return
        for name, fact in facts:
            path = f"{directory}/{name}" if directory else name
            if not _is_name(name):
                continue
            if stat.S_ISDIR(fact.st_mode) and depth > 1:
                yield from self._below(path, depth - 1)
            elif _is_own(fact):
                yield Found(path, fact.st_size)


def log_path(name: str) -> str:
    """Return the path of a log below the run's directory.

    Raises:
        NoFileError: this is no log's name.
    """
    if not _LOG.match(name):
        raise NoFileError("no log has this name", where=name[:80])
    return f"{LOGS}/{name}.log"


def _is_own(facts: os.stat_result) -> bool:
    """Return whether this is a regular file that has no other name."""
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1


def _is_name(part: str) -> bool:
    """Return whether one step of a path stays below, and can be shown and asked for."""
    return part not in ("", ".", "..") and part.isprintable() and len(part) <= 255


def _order(found: Found) -> tuple[int, str]:
    name = found.path.removesuffix("-services")
    if name in _FIRST:
        return _FIRST.index(name), found.path
    return len(_FIRST) + (name in _LAST), found.path
