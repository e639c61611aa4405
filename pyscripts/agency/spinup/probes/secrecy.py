"""Search for secrets where none may be: logs, argument lists, environments, stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, SecretStr

from agency.errors import BadInputError
from agency.programs import ProgramError, run_to_end
from agency.secrets import Redactor, SecretValue
from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.record import Evidence

_CHUNK = 4 * 1024 * 1024
_OVERLAP = 64 * 1024
_JOURNAL_S = 60.0


class Values(Nothing):
    """The secrets to search for, beside the agents' own tokens."""

    values: tuple[SecretStr, ...] = Field(max_length=256)


@probe("secrets.search", Values)
def search_here(here: Here, told: Values) -> Evidence:
    """Search the machine for any of these values; names the places, never the values."""
    known = [SecretValue(value.get_secret_value()) for value in told.values]
    values = [*known, *here.tokens().values()]
    journal = _search_journal(values, here.journal)
    return _joined(search(values, files=here.files(), pids=here.pids()), journal)


def _search_journal(values: Sequence[SecretValue], argv: Sequence[str]) -> Evidence:
    if not argv:
        return {}
    size, leaked = search_output(values, argv, timeout_s=_JOURNAL_S)
    places = ["journal"] if leaked else []
    return {"findings": int(leaked), "places": places, "journalBytes": size}


def search_texts(values: Sequence[SecretValue], texts: Iterable[str], seen: Evidence) -> Evidence:
    """Search texts of this process too; returns what was seen before with what was found."""
    redactor = Redactor(values)
    found = sum(bool(redactor.find(text)) for text in texts)
    return _joined(seen, {"findings": found, "places": ["evidence"] if found else []})


def _joined(seen: Evidence, more: Evidence) -> Evidence:
    if not more:
        return seen
    places = sorted({*seen["places"], *more["places"]})
    return {**seen, **more, "findings": seen["findings"] + more["findings"], "places": places}


def search(
    values: Sequence[SecretValue], *, files: Sequence[Path], pids: Iterable[int]
) -> Evidence:
    """Search files, and the argv and environment of processes; names the places."""
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
    """Search the output of a program, however long; returns its bytes and if a secret is there.

    Raises:
        ProgramError: it cannot be started, fails, or takes too long.
        PrerequisiteError: it does not exist.
        BadInputError: it prints nothing, so nothing was searched.
    """
    searched = _Searched(Redactor(values))
    finished = run_to_end(argv, timeout=timeout_s, sink=searched.take)
    if finished.status != 0:
        raise ProgramError(f"exit status {finished.status}", where=argv[0])
    searched.look()
    if searched.size == 0:
        raise BadInputError("printed nothing, so nothing was searched", where=argv[0])
    return searched.size, searched.found


@dataclass(slots=True)
class _Searched:
    """Content that is searched in parts, each with the end of the one before it."""

    redactor: Redactor
    size: int = 0
    found: bool = False
    _part: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> None:
        """Add what came; search when a part is complete."""
        self.size += len(chunk)
        self._part += chunk
        if len(self._part) >= _CHUNK:
            self.look()

    def look(self) -> None:
        """Search the part at hand."""
        self.found = self.found or _has(self.redactor, bytes(self._part))
        del self._part[:-_OVERLAP]


def _has(redactor: Redactor, content: bytes) -> bool:
    return bool(redactor.find(content.decode(errors="replace")))


def _file_has(redactor: Redactor, path: Path) -> bool:
    searched = _Searched(redactor)
    try:
        with path.open("rb") as handle:
            while not searched.found and (chunk := handle.read(_CHUNK)):
                searched.take(chunk)
    except FileNotFoundError:
        return False  # it was removed in the meantime: nothing is left to search
    searched.look()
    return searched.found


def _read_proc(pid: int, part: str) -> bytes | None:
    try:
        return (Path("/proc") / str(pid) / part).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended in the meantime: nothing is left to search
