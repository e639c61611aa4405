"""Looking for secrets where none may be: logs, argument lists, environments, stores, evidence."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from agency.errors import BadInputError
from agency.programs import ProgramError
from agency.secrets.redact import Redactor
from agency.secrets.values import SecretValue
from agency.spinup.record import Evidence

_CHUNK = 4 * 1024 * 1024
_OVERLAP = 64 * 1024


def search(
    values: Sequence[SecretValue],
    *,
    files: Sequence[Path],
    pids: Iterable[int],
    texts: Iterable[str],
) -> Evidence:
    """Search files, the argv and environment of processes, and texts; names where, never what."""
    redactor = Redactor(values)
    findings: list[str] = []
    searched = 0
    for path in files:
        searched += 1
        if _file_has(redactor, path):
            findings.append(path.name)
    argv = 0
    for pid in pids:
        for part in ("cmdline", "environ"):
            content = _read_proc(pid, part)
            argv += part == "cmdline" and content is not None
            if content is not None and _has(redactor, content):
                findings.append(f"{part} of a process")
    findings.extend("evidence" for text in texts if redactor.find(text))
    return {
        "secretsChecked": len({value.digest() for value in values}),
        "filesSearched": searched,
        "argvSearched": argv,
        "findings": len(findings),
        "places": sorted(set(findings)),
    }


def search_output(
    values: Sequence[SecretValue], argv: Sequence[str], *, timeout_s: float
) -> tuple[int, bool]:
    """Search what a program prints, however long: how many bytes, and whether a secret is there.

    Raises:
        ProgramError: it cannot be started, fails, or takes too long.
        BadInputError: it prints nothing, so nothing was searched.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise ProgramError(f"cannot be started: {error.strerror}", where=argv[0]) from error
    redactor, size, found = Redactor(values), 0, False
    limit = threading.Timer(timeout_s, process.kill)
    limit.start()
    try:
        with process:
            for chunk, fresh in _chunks(process.stdout):
                size += fresh
                found = found or _has(redactor, chunk)
    finally:
        limit.cancel()
    if process.returncode < 0:
        raise ProgramError(f"no end after {timeout_s:g} s", where=argv[0])
    if process.returncode != 0:
        raise ProgramError(f"exit status {process.returncode}", where=argv[0])
    if size == 0:
        raise BadInputError("printed nothing, so nothing was searched", where=argv[0])
    return size, found


def _has(redactor: Redactor, content: bytes) -> bool:
    return bool(redactor.find(content.decode(errors="replace")))


def _chunks(stream: IO[bytes] | None) -> Iterator[tuple[bytes, int]]:
    """What a stream holds, each part with the end of the one before it; and its own length."""
    carried = b""
    while stream is not None and (chunk := stream.read(_CHUNK)):
        yield carried + chunk, len(chunk)
        carried = (carried + chunk)[-_OVERLAP:]


def _file_has(redactor: Redactor, path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return any(_has(redactor, chunk) for chunk, _ in _chunks(handle))
    except FileNotFoundError:
        return False  # it was removed in the meantime: nothing is left to search


def _read_proc(pid: int, part: str) -> bytes | None:
    try:
        return (Path("/proc") / str(pid) / part).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended in the meantime: nothing is left to search
