"""The instance: its problems, links in its way, and whether git has all that Nix reads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from agency.doctor.finding import Finding, Subject, bad, note, ok
from agency.instance import INSTANCE_FILE, examine, rendered_files
from agency.programs import Finished, run_to_end
from agency.secrets import sops

_TIMEOUT_S = 15.0
_MOST = 20
_NONE = "name one: `agency doctor DIR`, or make one: `agency init DIR`"
_PRIVATE_KEY = "AGE-SECRET-KEY-1"


def find_problems(subject: Subject) -> Iterator[Finding]:
    """Check the instance as `agency check` does."""
    if subject.directory is None:
        yield note("instance", "there is none here", _NONE)
        return
    problems = examine(subject.directory)
    remedy = f"agency check {shlex.quote(str(subject.directory))}"
    if not problems:
        yield ok("instance", f"{subject.directory}: `agency check` finds nothing wrong")
    for problem in problems[:_MOST]:
        place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        field = f"{problem.field}: " if problem.field else ""
        yield bad(place, f"{field}{problem.message}", remedy)
    if len(problems) > _MOST:
        yield bad("instance", f"{len(problems) - _MOST} more", remedy)


def look_at_links(subject: Subject) -> Iterator[Finding]:
    """Look for a link where `agency render` writes, and for what an interruption left."""
    root = _root(subject)
    if root is None:
        return
    generated = root / "generated"
    if generated.is_symlink():
        yield bad(
            str(generated),
            f"is a link to {generated.readlink()}, and `agency render` writes a directory",
            f"rm {shlex.quote(str(generated))} && agency render {shlex.quote(str(root))}",
        )
    left = sorted(p for pattern in (".*.new.*", ".generated.old") for p in root.glob(pattern))
    for path in left[:_MOST]:
        told = "is left of a command that was interrupted"
        yield note(str(path), told, f"rm -r {shlex.quote(str(path))}")


def _root(subject: Subject) -> Path | None:
    directory = subject.directory
    if directory is None or not directory.exists():
        return None
    return directory if directory.is_dir() else directory.parent


def look_at_git(subject: Subject) -> Iterator[Finding]:
    """Look whether git tracks what Nix reads of the instance: a flake sees nothing else."""
    root = _root(subject)
    if root is None or not (root / INSTANCE_FILE).is_file():
        return
    shown = shlex.quote(str(root))
    inside = _git(root, "rev-parse", "--is-inside-work-tree")
    if inside.status != 0:
        yield _not_in_git(root, shown, inside)
        return
    wanted = _wanted(subject, root)
    listed = _git(root, "ls-files", "-z", "--", *wanted)
    tracked = {name.decode(errors="replace") for name in listed.stdout.split(b"\0")}
    missing = [name for name in wanted if name not in tracked]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        yield bad(
            "git",
            f"{', '.join(missing[:5])}{more}: not tracked, so that Nix does not see it",
            f"git -C {shown} add --force {' '.join(map(shlex.quote, missing))}",
        )
    else:
        yield ok("git", f"{root}: tracks all {len(wanted)} files that Nix reads")
    yield from _keys_in_git(root)


def _not_in_git(root: Path, shown: str, answer: Finished) -> Finding:
    if "dubious ownership" in answer.reason:
        remedy = f"git config --global --add safe.directory {shlex.quote(str(root.resolve()))}"
        return bad("git", f"{root} belongs to another user, and git refuses it", remedy)
    if "not a git repository" in answer.reason:
        remedy = f"git -C {shown} init && git -C {shown} add -A"
        return note("git", f"{root} is in no repository", remedy)
    return bad("git", answer.reason, f"git -C {shown} status")


def _wanted(subject: Subject, root: Path) -> list[str]:
    names = [INSTANCE_FILE, sops.CONFIG_FILE, sops.SECRETS_FILE]
    wanted = [name for name in names if os.path.lexists(root / name)]
    loaded = subject.load()
    if loaded is None:
        return wanted
    files = (f"generated/{name}" for name in rendered_files(loaded))
    return [*wanted, *(name for name in files if os.path.lexists(root / name))]


def _keys_in_git(root: Path) -> Iterator[Finding]:
    found = _git(root, "grep", "--cached", "-lI", "-F", "-e", _PRIVATE_KEY, "--", ".")
    for name in found.stdout.decode(errors="replace").splitlines()[:_MOST]:
        yield bad(
            str(root / name),
            "holds a private age key, and git has it: whoever has the repository can decrypt",
            "make a new key with age-keygen, `agency secrets recipients`, and rotate every secret",
        )


def _git(root: Path, *arguments: str) -> Finished:
    """Run git without what a repository of others could make it run."""
    neutral = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    argv = ["git", *neutral, "-C", str(root), *arguments]
    return run_to_end(argv, timeout=_TIMEOUT_S, env=environ, hint="install git")
