"""Runner of the program sops: its version, its environment, and its exit statuses.

sops sees an empty home, so that no key of it takes part, and the one key that was chosen, in a
file that exists in memory only.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.programs import ProgramError, find_program, run_program, run_to_end
from agency.secrets.encryption.age import KEY_VARIABLE
from agency.secrets.values import SecretValue

TIMEOUT_S = 30
OLDEST = (3, 9)
SOPS_HINT = "install sops 3.9 or newer (it is in nixpkgs; or github.com/getsops/sops)"
SECRETS_FILE = "secrets/secrets.yaml"

# Exit statuses of sops (github.com/getsops/sops, cmd/sops/codes).
_CHANGED = {24, 25}  # a value or the MAC cannot be authenticated
_MAC = {51, 52}  # the MAC is another one, or missing
_NO_KEY = 128
UNCHANGED = 200  # the editor changed nothing
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory in it is made by mkdtemp


class SopsError(ProgramError):
    """Failure of sops, with its exit status. Its output is not kept: it may quote the input."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}", where="sops")
        self.status = status


@cache
def _version(program: str, changed_ns: int) -> tuple[int, ...]:  # noqa: ARG001 - part of the cache key
    try:
        argv = [program, "--disable-version-check", "--version"]
        said = run_program(argv, timeout=TIMEOUT_S, env=_only_path())
    except ProgramError:
        return ()
    found = re.search(rb"(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def find_sops() -> str:
    """Find a sops that is new enough.

    Raises:
        PrerequisiteError: there is none, or it is too old.
    """
    program = find_program("sops", hint=SOPS_HINT)
    version = _version(program, Path(program).stat().st_mtime_ns)
    if version < OLDEST:
        is_one = f"is version {'.'.join(map(str, version))}" if version else "tells no version"
        raise PrerequisiteError(
            f"the program sops {is_one}; 3.9 or newer is needed", where=program, hint=SOPS_HINT
        )
    return program


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """Hold data in a file that has no name; yields its descriptor."""
    descriptor = os.memfd_create("agency-secret", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as handle:
            handle.write(data)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def private_directory() -> Iterator[Path]:
    """Make a directory of this user alone, in memory where the machine has that; it is removed."""
    base = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    made = Path(tempfile.mkdtemp(dir=base, prefix="agency-sops-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def run_sops(
    arguments: Sequence[str],
    *,
    identity: SecretValue | None = None,
    stdin: bytes | None = None,
    descriptors: Sequence[int] = (),
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> bytes:
    """Run sops with the one key `identity`; returns its output.

    Raises:
        PrerequisiteError: sops is missing or too old.
        SopsError: sops failed.
        ProgramError: it did not end in time, or said too much.
    """
    program = find_sops()
    with private_directory() as home, in_memory(_text(identity)) as key:
        env = {**_only_path(), "HOME": str(home), "TMPDIR": str(home), **(environ or {})}
        passed = [*descriptors]
        if identity is not None:
            env[KEY_VARIABLE] = f"/proc/self/fd/{key}"
            passed.append(key)
        finished = run_to_end(
            [program, *arguments],
            timeout=TIMEOUT_S,
            stdin=stdin,
            env=env,
            # An empty directory: sops searches upwards for a .sops.yaml and must not find one.
            cwd=cwd if cwd is not None else home,
            pass_fds=passed,
        )
    if finished.status != 0:
        raise SopsError(finished.status)
    return finished.stdout


def _only_path() -> dict[str, str]:
    """Return the environment without all that may be secret."""
    return {"PATH": os.environ["PATH"]} if "PATH" in os.environ else {}


def _text(identity: SecretValue | None) -> bytes:
    return b"" if identity is None else identity.reveal().encode()


def instance_of(path: Path) -> str:
    """Return the instance of an encrypted file as a word for a command; DIR if it has none."""
    return str(path.parent.parent) if path.parts[-2:] == ("secrets", "secrets.yaml") else "DIR"


def explain(failure: ProgramError, path: Path, doing: str) -> AgencyError:
    """Make the error for a failure of sops on a file: the cause by its exit status, the remedy."""
    root = instance_of(path)
    status = failure.status if isinstance(failure, SopsError) else None
    if status in _MAC:
        return BadInputError(
            "was changed by something but sops: a line was added, removed or taken from elsewhere "
            "(the MAC does not match)",
            where=str(path),
            hint=f"look at `git -C {root} log -p -- {SECRETS_FILE}`; if every line is wanted, "
            f"`agency secrets rekey --ignore-mac {root}` accepts the file as it is",
        )
    if status in _CHANGED:
        return BadInputError(
            "was changed by something but sops: a value in it is damaged or has another name",
            where=str(path),
            hint=f"restore it: `git -C {root} checkout HEAD -- {SECRETS_FILE}`",
        )
    if status == _NO_KEY:
        return PrerequisiteError(
            "sops could not open its data key with the key of this machine",
            where=str(path),
            hint=f"restore it: `git -C {root} checkout HEAD -- {SECRETS_FILE}`",
        )
    ended = "did not end in time" if status is None else f"ended with status {status}"
    return BadInputError(
        f"sops could not {doing} it: it {ended}",
        where=str(path),
        hint=f"`agency secrets doctor {root}` says what is wrong with the file",
    )
