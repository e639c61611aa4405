"""Console script `spinup_smoke`: copy the program, then become the copy."""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from agency import rundir
from agency.clock import new_id
from agency.errors import AgencyError, InternalError, PrerequisiteError
from agency.paths import state_dir
from agency.source_digest import digest_of, read_source, source_root
from agency.spinup.launch.kept import SITE, keep, keep_directory
from agency.spinup.launch.libraries import sites
from agency.spinup.launch.python import make_python
from agency.spinup.launch.source import copy_source, packages_of
from agency.spinup.launch.started import FACTS, Started
from agency.terminal import plain, plain_lines

PROGRAM = "agency.spinup.cli"
# The host's side of a guest installs and builds from the checkout's own environment; what runs in
# the guest is a copy of the digested files too (agency.guests.install).
_IN_PLACE = ("incus",)
_COMPLETION = "_SPINUP_SMOKE_COMPLETE"


def main() -> NoReturn:
    """Run the console script."""
    arguments = sys.argv[1:]
    try:
        if not is_copied(arguments) or _COMPLETION in os.environ:
            _run_in_place(arguments)
        argv, environment = prepare(arguments)
    except AgencyError as error:
        _print_error(error, as_json="--json" in arguments)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        sys.exit(130)
    os.execve(argv[0], argv, environment)  # noqa: S606 - an argv list, as everywhere


def is_copied(arguments: Sequence[str]) -> bool:
    """Return whether a command line makes a transcript of what this machine's copy did."""
    target = "local"
    for number, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            return False
        if argument == "--target":
            target = next(iter(arguments[number + 1 : number + 2]), target)
        elif argument.startswith("--target="):
            target = argument.partition("=")[2]
    return target not in _IN_PLACE


def prepare(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Make the copy; return the command line and the environment that become it.

    Raises:
        PrerequisiteError: a file cannot be read or written, or is not what was installed.
        BadInputError: the source has no digest.
    """
    root = source_root()
    try:
        state = state_dir()
    except RuntimeError as error:  # no HOME, and no entry of this user
        hint = "set HOME, or XDG_STATE_HOME to a directory of yours"
        raise PrerequisiteError("this user has no home directory", hint=hint) from error
    files = list(read_source(root))
    digests = digest_of(root, files).digest_set()
    try:
        kept = keep(state / "libraries", sites())
        cache = state / "bytecode"
        kept_source = keep_directory(
            state / "sources",
            f"{digests['sha256']}-{sys.implementation.cache_tag}",
            lambda place: copy_source(root, files, place, cache),
        )
        packages = packages_of(root, kept_source / SITE)
        programs = state / "programs"
        rundir.reap(programs)
        run = rundir.create(programs, new_id("program"))
        python = make_python(run.path / "python", (packages, kept.site))
        started = Started(
            place=run.path,
            lock=run.hand_over(),
            digests=digests,
            libraries=kept.digest,
            kept=kept.place,
            commands=Path(sys.argv[0]).absolute().parent,
        )
        (run.path / FACTS).write_text(started.to_json())
    except OSError as error:
        raise PrerequisiteError(
            f"the copy of the program: {error.strerror or error}",
            where=str(error.filename or state),
            hint="check free space and permissions, or set XDG_STATE_HOME to another place",
        ) from error
    argv = [str(python), "-I", "-B", "-m", PROGRAM, *arguments]
    return argv, _environment(root)


def _environment(root: Path) -> dict[str, str]:
    """Return this environment without variables that lead Python elsewhere.

    The tools of the checkout's set-up are found last.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    search = os.environ.get("PATH", os.defpath)
    tools = root / ".tools" / "bin"
    return {**others, "PATH": f"{search}:{tools}" if tools.is_dir() else search}


def _run_in_place(arguments: Sequence[str]) -> NoReturn:
    """Run from the checkout or the installed package, as `python -m` would."""
    if not sys.flags.no_site:
        runpy.run_module(PROGRAM, run_name="__main__")
        raise InternalError("the command did not exit")
    os.execv(sys.executable, [sys.executable, "-P", "-m", PROGRAM, *arguments])  # noqa: S606


def _print_error(error: AgencyError, *, as_json: bool) -> None:
    """Print an error as agency.commandline does, which needs libraries."""
    if as_json:
        text = json.dumps({"error": error.as_dict()}, ensure_ascii=False)
    else:
        where = f"{plain(error.where)}: " if error.where else ""
        hint = f"\n  hint: {plain_lines(error.hint)}" if error.hint else ""
        text = f"error: {where}{plain_lines(error.message)}{hint}"
    sys.stderr.write(text + "\n")
