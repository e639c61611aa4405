"""Check of a commit's subject: `area: imperative`, 72 characters at most.

Standard library only: set-up installs it as git's commit-msg hook.

    python3 tools/commit_message.py FILE            the hook: refuse a message of another form
    python3 tools/commit_message.py --since COMMIT  name commits of another form; never fails
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

LONGEST = 72
TIMEOUT_S = 60
ROOT = Path(__file__).resolve().parent.parent
FORM = re.compile(r"[a-z0-9][a-z0-9_./-]*(?:, [a-z0-9][a-z0-9_./-]*)*: (?P<first>\S+)(?: .*)?")
# Subjects that git writes itself, or that a later rebase folds away.
BY_GIT = re.compile(r"Merge |Revert \"|Reapply \"|(?:fixup|squash|amend)! ")
# Endings of verbs that are not imperatives, and imperatives with such endings.
OTHER_FORMS = re.compile(r"\w+(?:ed|ing|[^s]s)")
IMPERATIVES = frozenset(
    {"alias", "bias", "bring", "canvas", "embed", "exceed", "feed", "focus", "need", "proceed"}
    | {"seed", "shed", "speed", "string", "succeed"}
)
EXAMPLE = "spinup: remove unused time-limit code"
MARK = "# Installed by tools/setup.py"
HOOK = f"""\
#!/bin/sh
{MARK}: remove this file, and put one of your own here, to be rid of it.
[ -f tools/commit_message.py ] || exit 0
exec python3 tools/commit_message.py "$1"
"""


def problem(subject: str) -> str | None:
    """Return the fault of a subject, or None."""
    if BY_GIT.match(subject):
        return None
    found = FORM.fullmatch(subject)
    if found is None:
        return "it does not begin with an area and a colon, as in `spinup: `"
    if len(subject) > LONGEST:
        return f"it has {len(subject)} characters, {LONGEST} are the most"
    first = found["first"]
    if not first[0].islower():
        return f"{first!r}, after the area, does not begin with a small letter"
    if first not in IMPERATIVES and OTHER_FORMS.fullmatch(first):
        return f"{first!r} is not an imperative"
    return "it ends with a full stop" if subject.endswith(".") else None


def subject_of(message: str) -> str:
    """Return the subject of a message as git's editor leaves it."""
    lines = (line.strip() for line in message.splitlines() if not line.startswith("#"))
    return next((line for line in lines if line), "")


def check(file: Path) -> int:
    """Check one message, for git; returns the exit status."""
    subject = subject_of(file.read_text(encoding="utf-8", errors="replace"))
    wrong = problem(subject) if subject else None  # git itself refuses an empty message
    if wrong is None:
        return 0
    tell(f"commit subject {subject!r}: {wrong}; right would be `{EXAMPLE}` (message: {file})")
    return 1


def tell(text: str) -> None:
    """Print one line for the committer."""
    print(text, file=sys.stderr)  # noqa: T201 - there is no rich where git runs this


def git(root: Path, *arguments: str) -> str | None:
    """Return git's output; None if git fails or is missing."""
    # In a hook, git's environment names a repository; this asks for that of `root`.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run(
        [program, "-C", str(root), *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment,
    )
    return done.stdout.strip("\n") if done.returncode == 0 else None


def offenders(root: Path, since: str) -> list[str]:
    """List the commits after `since` whose subjects are wrong, with the faults."""
    listed = git(root, "log", "--no-merges", "--format=%h %s", f"{since}..HEAD")
    found = []
    for line in (listed or "").splitlines():
        commit, _, subject = line.partition(" ")
        wrong = problem(subject)
        if wrong is not None:
            found.append(f"commit {commit} {subject!r}: {wrong}")
    return found


def install_hook(root: Path) -> bool:
    """Install the hook; returns True if the hook in place is this one.

    Only if `root` is the top of a repository, and the user has no hook or hooks' directory of
    their own there.
    """
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return False
    if git(root, "config", "--get", "core.hooksPath"):
        return False
    named = git(root, "rev-parse", "--git-path", "hooks/commit-msg")
    if named is None:
        return False
    hook = root / named
    if hook.is_symlink() or (hook.exists() and MARK not in hook.read_text(errors="replace")):
        return False
    if not hook.exists() or hook.read_text() != HOOK:
        hook.parent.mkdir(exist_ok=True)
        unnamed = hook.with_name(f".commit-msg-{os.getpid()}")
        unnamed.write_text(HOOK)
        unnamed.chmod(0o755)
        unnamed.rename(hook)
    return True


def main(arguments: list[str]) -> int:
    """Run the requested action; returns the exit status."""
    if len(arguments) == 2 and arguments[0] == "--since":
        for line in offenders(ROOT, arguments[1]):
            tell(line)
        return 0
    if len(arguments) == 1:
        return check(Path(arguments[0]))
    tell("usage: commit_message.py FILE | --since COMMIT")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
