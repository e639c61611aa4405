"""Running other programs: argv lists only, always with a time limit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agency.errors import AgencyError, PrerequisiteError

# Where a checkout's set-up puts the programs that it builds; of an installed package, no place.
_OF_CHECKOUT = Path(__file__).resolve().parents[2] / ".tools" / "bin"


class ProgramError(AgencyError):
    """Failure of a program: a bad exit status, or no end in time; then `status` is None."""

    status: int | None = None


def find_program(name: str, *, hint: str) -> str:
    """Find a program on PATH, or among the tools that set-up built for this checkout.

    Raises:
        PrerequisiteError: it is not installed; `hint` says how to get it.
    """
    found = shutil.which(name) or shutil.which(name, path=str(_OF_CHECKOUT))
    if found is None:
        raise PrerequisiteError(f"the program {name!r} is not installed", where="PATH", hint=hint)
    return found


def run_program(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    hint: str | None = None,
    pass_fds: Sequence[int] = (),
) -> bytes:
    """Run `argv` and return its standard output; secrets may travel by `stdin`, never by `argv`.

    Raises:
        ProgramError: a non-zero exit (with the line of standard error that says why) or a time-out.
        PrerequisiteError: the program does not exist.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin if stdin is not None else b"",
            env=dict(env) if env is not None else None,
            cwd=cwd,
            capture_output=True,
            timeout=timeout,
            check=False,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"the program {argv[0]!r} is not installed", where="PATH", hint=hint
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"no end after {timeout:g} s", where=argv[0], hint=hint) from error
    if done.returncode != 0:
        reason = _reason(done.stderr.decode(errors="replace"))
        failure = ProgramError(f"exit status {done.returncode}: {reason}", where=argv[0], hint=hint)
        failure.status = done.returncode
        raise failure
    return done.stdout


def _reason(said: str) -> str:
    """Pick the line with the reason: git's first `fatal:` (advice follows it), else the last."""
    lines = said.strip().splitlines()
    fatal = [line for line in lines if line.startswith("fatal: ")]
    return next(iter([*fatal, *lines[-1:]]), "no message")
