"""History of an encrypted file in git: who could read its data key, and since when a value stands.

No key is needed. Two contents have the same data key if a value is the same bytes in both: a value
that is encrypted again with another key never is. Going back from the present content, the
recipients of all contents with that data key are those who can still open it, whatever the file
says now: the data key for them is in an old commit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from agency.errors import AgencyError, BadInputError
from agency.programs import run_program
from agency.secrets.encryption.document import MAX_BYTES, Document, parse

MAX_COMMITS = 200
TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class History:
    """Result of the look; `told` is false where there is no git history to look at.

    `former` are recipients who are none now and know the data key. `since` has, for each name, the
    day of the oldest commit from which its line is the same until now.
    """

    told: bool
    former: frozenset[str] = frozenset()
    since: tuple[tuple[str, date], ...] = ()


def read_history(path: Path, now: Document) -> History:
    """Read the history of an encrypted file, whose present content is `now`."""
    try:
        versions = list(_versions(path))
    except AgencyError:
        return History(told=False)
    former = _holders(now, [document for _, document in versions]) - now.recipients()
    since: dict[str, date] = {}
    standing = dict(now.values)
    for day, document in versions:
        standing = {n: value for n, value in standing.items() if document.values.get(n) == value}
        since |= dict.fromkeys(standing, day)
    return History(bool(versions), former, tuple(sorted(since.items())))


def _holders(now: Document, versions: list[Document]) -> frozenset[str]:
    """Return the recipients of every content that has the data key of `now`.

    A content can be tied to it by others only: no value of the first need be left in the last. The
    versions of merged branches lie between each other, so the look is repeated until none is found.
    """
    holders, lines, left = now.recipients(), _lines(now), versions
    while found := [one for one in left if lines & _lines(one)]:
        left = [one for one in left if not lines & _lines(one)]
        for one in found:
            holders |= one.recipients()
            lines |= _lines(one)
    return holders


def _lines(document: Document) -> frozenset[tuple[str, str]]:
    """Return the encrypted values with their names; equal ones have the same data key."""
    values = document.values.items()
    return frozenset((name, value) for name, value in values if str(value).startswith("ENC["))


def _versions(path: Path) -> Iterator[tuple[date, Document]]:
    """Iterate over the committed contents of a file, newest first; skip those that are no file."""
    file = path.resolve()
    log = (
        "log",
        "--full-history",
        f"--max-count={MAX_COMMITS}",
        "--format=%H %cs",
        "--",
        file.name,
    )
    commits = [line.split() for line in _git(file.parent, *log).decode().splitlines()]
    if not commits:
        return
    wanted = "".join(f"{commit}:./{file.name}\n" for commit, _ in commits).encode()
    blobs = _blobs(_git(file.parent, "cat-file", "--batch", stdin=wanted))
    for (_, day), blob in zip(commits, blobs, strict=False):
        if blob is None or len(blob) > MAX_BYTES:
            continue
        try:
            yield date.fromisoformat(day), parse(path, blob)
        except BadInputError:
            continue  # a plain or broken content of the past


def _blobs(output: bytes) -> Iterator[bytes | None]:
    """Split the output of `git cat-file --batch`."""
    while output:
        head, _, output = output.partition(b"\n")
        if not head.rpartition(b" ")[2].isdigit():
            yield None
            continue
        size = int(head.rpartition(b" ")[2])
        yield output[:size]
        output = output[size + 1 :]


def _git(directory: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    unwanted = ("GIT_", "SOPS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    argv = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(directory)]
    return run_program([*argv, *arguments], timeout=TIMEOUT_S, stdin=stdin, env=env)
