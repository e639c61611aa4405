"""Subjects of commits: their form, the hook that looks at them, and where it is not installed."""

import os
import subprocess
from pathlib import Path

import commit_message
import pytest
from commit_message import MARK, install_hook, offenders, problem

GOOD = (
    "spinup: remove unused time-limit code",
    "systemd: share the reader of proc(5)",
    "docs: shorten the isolation table",
    "control/grammar: refuse a second flag",
    "nix, docs: name the option",
    "cli: pass the trace on",
    "cli: embed the schema",
    "cli: address what was left",
    "x: " + "y" * 69,
    "Merge branch 'x'",
    'Revert "Add x"',
    "fixup! Anything",
)
BAD = {
    "Add a thing": "area",
    "spinup remove": "area",
    "Spinup: remove": "area",
    "spinup:remove": "area",
    "spinup: ": "area",
    "x: " + "y" * 70: "73 characters",
    "spinup: Remove it": "small letter",
    "spinup: removes it": "imperative",
    "spinup: removed it": "imperative",
    "spinup: removing it": "imperative",
    "spinup: remove it.": "full stop",
}


@pytest.mark.parametrize("subject", GOOD)
def test_good(subject):
    assert problem(subject) is None


@pytest.mark.parametrize(("subject", "said"), BAD.items())
def test_bad(subject, said):
    assert said in problem(subject)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of its own, whose checkout has the program that the hook calls."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    root = tmp_path / "a checkout"
    (root / "tools").mkdir(parents=True)
    source = Path(commit_message.__file__)
    (root / "tools" / source.name).write_text(source.read_text())
    git(root, "init", "-q")
    git(root, "config", "user.name", "A")
    git(root, "config", "user.email", "a@example.org")
    return root


def git(root, *arguments):
    done = subprocess.run(
        ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(root, message):
    argv = ["git", "-C", root, "commit", "-q", "--allow-empty", "-m", message]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_the_hook_refuses_and_says_what_would_be_right(repository):
    assert commit(repository, "Whatever").returncode == 0, "without the hook"
    assert install_hook(repository)
    assert install_hook(repository), "once more changes nothing"
    refused = commit(repository, "Whatever")
    assert refused.returncode == 1
    assert commit_message.EXAMPLE in refused.stderr
    assert commit(repository, "spinup: remove it\n\nWhatever. It was unused.").returncode == 0
    (repository / "tools" / "commit_message.py").unlink()
    assert commit(repository, "A branch without the program").returncode == 0


def test_offenders_are_named_and_nothing_fails(repository):
    commit(repository, "Old")
    since = git(repository, "rev-parse", "HEAD")
    commit(repository, "spinup: remove it")
    commit(repository, "Removed it")
    (line,) = offenders(repository, since)
    assert "Removed it" in line
    assert offenders(repository, "0" * 40) == [], "a shallow clone does not know it"
    program = repository / "tools" / "commit_message.py"
    argv = ["python3", program, "--since", since]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, line + "\n")


def test_a_hook_of_the_user_stays(repository):
    hook = repository / ".git" / "hooks" / "commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 0\n")
    assert not install_hook(repository)
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"
    hook.write_text(f"#!/bin/sh\n{MARK}: of an older version\n")
    assert install_hook(repository)
    assert hook.read_text() == commit_message.HOOK


def test_a_place_for_hooks_that_the_user_chose_is_left_alone(repository):
    git(repository, "config", "core.hooksPath", "own")
    assert not install_hook(repository)
    assert not (repository / "own").exists()
    assert not (repository / ".git" / "hooks" / "commit-msg").exists()


def test_a_checkout_that_is_no_repository_of_its_own_gets_none(repository, tmp_path):
    unpacked = repository / "unpacked"
    unpacked.mkdir()
    assert not install_hook(unpacked), "it would be that of the repository around it"
    assert not (repository / ".git" / "hooks" / "commit-msg").exists()
    assert not install_hook(tmp_path)


def test_a_worktree_shares_it(repository):
    assert commit(repository, "tools: begin").returncode == 0
    tree = repository.parent / "tree"
    git(repository, "worktree", "add", "-q", str(tree))
    assert install_hook(tree)
    assert (repository / ".git" / "hooks" / "commit-msg").exists()


def test_comments_of_the_editor_are_no_subject():
    text = "\n# Please enter\nspinup: remove it\n# more\n"
    assert commit_message.subject_of(text) == "spinup: remove it"
    assert commit_message.subject_of("# nothing\n") == ""
