"""The programs that the commands call, and the Python below them."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from collections.abc import Iterator

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.errors import AgencyError
from agency.programs import find_program, run_program
from agency.secrets import SOPS_HINT, sops

_TIMEOUT_S = 10.0
_OLDEST_PYTHON = (3, 11)
_VERSION = re.compile(r"\d+(\.\d+)+")


def look_at_programs(subject: Subject) -> Iterator[Finding]:
    """Look for git, sops and age, with their versions, and at Python."""
    yield _python()
    yield _program("git", "--version", "install git (Debian: `apt install git`)", needed=True)
    needed = _needs_sops(subject)
    yield _sops(needed=needed)
    remedy = "install age (Debian: `apt install age`), or `make setup-tools` in a checkout"
    yield _program("age-keygen", "--version", remedy, needed=needed)
    if importlib.util.find_spec("synapse") is None:
        yield note(
            "synapse",
            "is not installed, so that `agency up` and a local spin-up do not run",
            "pip install 'agency[local]', or `make setup-spinup` in a checkout",
        )
    else:
        yield ok("synapse", "is installed")


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        return bad("python", f"is {version}", f"use Python {wanted} or newer")
    return ok("python", version)


def _needs_sops(subject: Subject) -> bool:
    loaded = subject.load()
    # Without an instance, `agency init` needs it.
    return loaded is None or loaded.instance.secrets.provider == "sops"


def _program(name: str, flag: str, remedy: str, *, needed: bool) -> Finding:
    tell = bad if needed else note
    try:
        program = find_program(name, hint=remedy)
        said = run_program([program, flag], timeout=_TIMEOUT_S).decode(errors="replace")
    except AgencyError as error:
        return tell(name, error.message, remedy)
    version = _VERSION.search(said)
    return ok(name, f"{version[0] if version else 'of an unknown version'} ({program})")


def _sops(*, needed: bool) -> Finding:
    try:
        program = sops.find_sops()
    except AgencyError as error:
        return (bad if needed else note)("sops", error.message, error.hint or SOPS_HINT)
    return ok("sops", f"new enough ({program})")
