"""Looking for secrets where none may be: logs, argument lists, environments, stores, evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from agency.secrets.redact import Redactor
from agency.spinup.steps import Evidence

_CHUNK = 4 * 1024 * 1024
_OVERLAP = 64 * 1024


def search(
    redactor: Redactor,
    secrets_checked: int,
    *,
    files: Sequence[Path],
    pids: Iterable[int],
    texts: Iterable[str],
) -> Evidence:
    """Search files, the argv and environment of processes, and texts; names where, never what."""
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
    findings.extend("evidence" for text in texts if redactor.redact(text) != text)
    return {
        "secretsChecked": secrets_checked,
        "filesSearched": searched,
        "argvSearched": argv,
        "findings": len(findings),
        "places": sorted(set(findings)),
    }


def _has(redactor: Redactor, content: bytes) -> bool:
    text = content.decode(errors="replace")
    return redactor.redact(text) != text


def _file_has(redactor: Redactor, path: Path) -> bool:
    carried = b""
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            if _has(redactor, carried + chunk):
                return True
            carried = chunk[-_OVERLAP:]
    return False


def _read_proc(pid: int, part: str) -> bytes | None:
    try:
        return (Path("/proc") / str(pid) / part).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended in the meantime: nothing is left to search
