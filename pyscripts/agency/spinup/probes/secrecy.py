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
    """The secrets to search for, beside the agents' own tokens.

    `planted` is no secret: it was put where a secret would be a leak, so that the search finds it.
    """

    values: tuple[SecretStr, ...] = Field(max_length=256)
    planted: str = Field(default="", max_length=256)


@probe("secrets.search", Values)
def search_here(here: Here, told: Values) -> Evidence:
    """Search the machine for any of these values; names the places, never the values."""
    known = [SecretValue(value.get_secret_value()) for value in told.values]
    values = [*known, *here.tokens().values()]
    sought = Sought.of(values, told.planted)
    journal = _search_journal(sought, here.journal)
    seen = search_machine(sought, files=here.files(), pids=here.pids())
    return joined(seen, journal)


@dataclass(frozen=True, slots=True)
class Sought:
    """Values that may be nowhere, how many they are, and the text that was planted, if one was."""

    secrets: Redactor
    count: int
    planted: Redactor | None = None

    @classmethod
    def of(cls, values: Sequence[SecretValue], planted: str = "") -> Sought:
        """Seek these values, and a planted text by the same means."""
        count = len({value.digest() for value in values})
        return cls(Redactor(values), count, Redactor([SecretValue(planted)]) if planted else None)

    def nothing(self) -> Evidence:
        """Make the evidence of a search that found nothing; what was planted has places too."""
        planted: Evidence = {"findings": 0, "places": []}
        return {"findings": 0, "places": [], **({"planted": planted} if self.planted else {})}

    def found_in(self, text: str, place: str) -> Evidence:
        """Search one text; evidence of what is there."""
        return self.named(place, bool(self.secrets.find(text)), self._is_planted(text))

    def named(self, place: str, leaked: bool, is_planted: bool) -> Evidence:
        """Make the evidence of one place."""
        seen = self.nothing()
        if leaked:
            seen |= {"findings": 1, "places": [place]}
        if is_planted:
            seen["planted"] = {"findings": 1, "places": [place]}
        return seen

    def _is_planted(self, text: str) -> bool:
        return self.planted is not None and bool(self.planted.find(text))


def _search_journal(sought: Sought, argv: Sequence[str]) -> Evidence:
    if not argv:
        return {}
    searched = search_output(sought, argv, timeout_s=_JOURNAL_S)
    found = sought.named("journal", searched.leaked, searched.planted)
    return {**found, "journalBytes": searched.size}


def search_texts(sought: Sought, texts: Iterable[str], place: str) -> Evidence:
    """Search texts of this process."""
    found = sought.nothing()
    for text in texts:
        found = joined(found, sought.found_in(text, place))
    return found


def joined(seen: Evidence, more: Evidence) -> Evidence:
    """Add up what two searches found."""
    if not more:
        return seen
    places = sorted({*seen["places"], *more["places"]})
    both = {**seen, **more, "findings": seen["findings"] + more["findings"], "places": places}
    if "planted" in seen and "planted" in more:
        both["planted"] = joined(seen["planted"], more["planted"])
    return both


def search(
    values: Sequence[SecretValue], *, files: Sequence[Path], pids: Iterable[int]
) -> Evidence:
    """Search files, and the argv and environment of processes; names the places."""
    return search_machine(Sought.of(values), files=files, pids=pids)


def search_machine(sought: Sought, *, files: Sequence[Path], pids: Iterable[int]) -> Evidence:
    """Search files, and the argv and environment of processes; names the places."""
    found = sought.nothing()
    for path in files:
        searched = _search_file(sought, path)
        found = joined(found, sought.named(path.name, searched.leaked, searched.planted))
    argv = 0
    for pid in pids:
        for part in ("cmdline", "environ"):
            content = _read_proc(pid, part)
            argv += part == "cmdline" and content is not None
            if content is not None:
                text = content.decode(errors="replace")
                found = joined(found, sought.found_in(text, f"{part} of a process"))
    return {
        "secretsChecked": sought.count,
        "filesSearched": len(files),
        "argvSearched": argv,
        **found,
    }


def search_output(sought: Sought, argv: Sequence[str], *, timeout_s: float) -> Searched:
    """Search the output of a program, however long.

    Raises:
        ProgramError: it cannot be started, fails, or takes too long.
        PrerequisiteError: it does not exist.
        BadInputError: it prints nothing, so nothing was searched.
    """
    searched = Searched(sought)
    finished = run_to_end(argv, timeout=timeout_s, sink=searched.take)
    if finished.status != 0:
        raise ProgramError(f"exit status {finished.status}", where=argv[0])
    searched.look()
    if searched.size == 0:
        raise BadInputError("printed nothing, so nothing was searched", where=argv[0])
    return searched


@dataclass(slots=True)
class Searched:
    """Content that is searched in parts, each with the end of the one before it."""

    sought: Sought
    size: int = 0
    leaked: bool = False
    planted: bool = False
    _part: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> None:
        """Add what came; search when a part is complete."""
        self.size += len(chunk)
        self._part += chunk
        if len(self._part) >= _CHUNK:
            self.look()

    def look(self) -> None:
        """Search the part at hand."""
        found = self.sought.found_in(self._part.decode(errors="replace"), "")
        self.leaked = self.leaked or found["findings"] > 0
        self.planted = self.planted or bool(found.get("planted", {}).get("findings"))
        del self._part[:-_OVERLAP]


def _search_file(sought: Sought, path: Path) -> Searched:
    searched = Searched(sought)
    try:
        with path.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                searched.take(chunk)
    except FileNotFoundError:
        return searched  # it was removed in the meantime: nothing is left to search
    searched.look()
    return searched


def _read_proc(pid: int, part: str) -> bytes | None:
    try:
        return (Path("/proc") / str(pid) / part).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended in the meantime: nothing is left to search
