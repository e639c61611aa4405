"""Units and files that a guest must have by its definitions, which are read on this side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.guests import UNITS, Definitions
from agency.spinup.record import Evidence

_ONESHOT = re.compile(r"^Type=oneshot$", re.MULTILINE)
_REMAINS = re.compile(r"^RemainAfterExit=(?:true|yes|on|1)$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expected:
    """Units that are to run, and those that run and end; files' SHA-256 by their path below /.

    Which files a NixOS has its own system says: there `files` is None.
    """

    running: tuple[str, ...]
    ending: tuple[str, ...]
    files: Mapping[str, str] | None = None

    def evidence(self, seen: Mapping[str, str]) -> Evidence:
        """Describe the expected units and files beside the digests of the files that were `seen`.

        `defined` is the digest of all digests as they should be; `differing` names the files that
        are not so, for a reader.
        """
        units = {"running": list(self.running), "ending": list(self.ending)}
        evidence: Evidence = {"expected": units, "digests": dict(sorted(seen.items()))}
        if self.files is not None:
            differing = [path for path in self.files if seen.get(path) != self.files[path]]
            evidence["defined"] = sha256_hex(canonical_json(dict(self.files)))
            evidence["differing"] = sorted(differing)
        return evidence


def by_definitions(definitions: Definitions) -> Expected:
    """Read what `agency activate` is to lay down and start."""
    texts = {path: file.content.decode() for path, file in definitions.files.items()}
    files = {path: sha256_hex(file.content) for path, file in definitions.files.items()}
    return _sorted_out(definitions.units, texts, files)


def by_export(portable: Path, units: Iterable[str]) -> Expected:
    """Read the units of a system that takes the exported definitions of others, such as NixOS."""
    names = tuple(units)
    paths = {f"{UNITS}/{name}": portable / "machine" / UNITS / name for name in names}
    texts = {name: path.read_text() for name, path in paths.items() if path.is_file()}
    return _sorted_out(names, texts, None)


def _sorted_out(
    units: Iterable[str], texts: Mapping[str, str], files: Mapping[str, str] | None
) -> Expected:
    running: list[str] = []
    ending: list[str] = []
    for name in sorted(units):
        (ending if _ends(texts.get(f"{UNITS}/{name}", "")) else running).append(name)
    return Expected(tuple(running), tuple(ending), files)


def _ends(text: str) -> bool:
    """Return True if a unit with this text is inactive after it has done its work."""
    return bool(_ONESHOT.search(text)) and not _REMAINS.search(text)
