"""One tree, one digest: whatever the clock, the umask, the order; recomputed with common tools."""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency import source_digest as module
from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.source_digest import SourceDigest, source_digest, source_root

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "transcript.md"


def git(tree: Path, *arguments: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tree.parent),
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    argv = ["git", "-C", str(tree), "-c", "core.excludesFile=", *arguments]
    done = subprocess.run(argv, env=env, capture_output=True, timeout=30, check=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A git checkout with all kinds of files, clean."""
    root = tmp_path / "checkout"
    (root / "sub dir").mkdir(parents=True)
    (root / ".gitignore").write_text("ignored\n__pycache__/\n")
    (root / "a.txt").write_text("a\n")
    (root / "Z").write_bytes(bytes(range(256)))
    (root / "sub dir" / "ümläut\n'new line'").write_text("x")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("./sub dir//nowhere/")
    (root / "empty").touch()
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_clean_checkout(tree: Path) -> None:
    found = source_digest(tree)
    assert found.git_commit == git(tree, "rev-parse", "HEAD")
    assert found.git_tree == git(tree, "rev-parse", "HEAD^{tree}")
    assert not found.dirty
    assert found.files == 7
    assert found.digest_set() == {
        "sha256": found.sha256,
        "gitCommit": found.git_commit,
        "gitTree": found.git_tree,
    }


def test_a_clone_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(tree), "clone")
    assert source_digest(tmp_path / "clone") == source_digest(tree)


def test_an_export_without_git_has_the_same_sum(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "export", symlinks=True)
    shutil.rmtree(tmp_path / "export" / ".git")
    (tmp_path / "export" / "__pycache__").mkdir()
    (tmp_path / "export" / "__pycache__" / "a.pyc").write_text("x")
    found = source_digest(tmp_path / "export")
    assert found.sha256 == source_digest(tree).sha256
    assert (found.git_commit, found.git_tree, found.dirty) == (None, None, True)
    assert found.digest_set() == {"sha256": found.sha256}


def test_time_umask_and_ignored_files_do_not_matter(tree: Path) -> None:
    before = source_digest(tree)
    for path in tree.rglob("*"):
        if path.is_symlink() or ".git" in path.parts:
            continue
        os.utime(path, (1, 1))
        if path.is_file():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    (tree / "ignored").write_text("anything")
    assert source_digest(tree) == before


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: (tree / "a.txt").write_text("b\n"),
    "added": lambda tree: (tree / "new").write_text(""),
    "removed": lambda tree: (tree / "a.txt").unlink(),
    "renamed": lambda tree: (tree / "a.txt").rename(tree / "b.txt"),
    "executable": lambda tree: (tree / "a.txt").chmod(0o755),
    "not executable": lambda tree: (tree / "run").chmod(0o644),
    "link target": lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("a.txt")),
    "link tidied": lambda tree: (
        (tree / "link").unlink(),
        (tree / "link").symlink_to("sub dir/nowhere"),
    ),
    "link made a file": lambda tree: (
        (tree / "link").unlink(),
        (tree / "link").write_text("./sub dir//nowhere/"),
    ),
    "two swapped": lambda tree: (
        (tree / "a.txt").rename(tree / "t"),
        (tree / "empty").rename(tree / "a.txt"),
        (tree / "t").rename(tree / "empty"),
    ),
}


@pytest.mark.parametrize("how", list(CHANGES))
def test_every_change_shows(how: str, tree: Path) -> None:
    before = source_digest(tree)
    CHANGES[how](tree)
    after = source_digest(tree)
    assert after.sha256 != before.sha256
    assert after.dirty
    assert set(after.digest_set()) == {"sha256"}


def test_a_staged_change_is_dirty_too(tree: Path) -> None:
    (tree / "a.txt").write_text("b\n")
    git(tree, "add", "-A")
    assert source_digest(tree).dirty
    git(tree, "commit", "-q", "-m", "second")
    assert not source_digest(tree).dirty


def test_a_checkout_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "fresh")
    (tmp_path / "fresh" / "a").write_text("a")
    found = source_digest(tmp_path / "fresh")
    assert (found.git_commit, found.git_tree, found.dirty, found.files) == (None, None, True, 1)


def test_variables_of_git_do_not_lead_elsewhere(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = source_digest(tree)
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert source_digest(tree) == before


def test_the_checkouts_own_monitor_is_not_run(tree: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {witness}\n")
    monitor.chmod(0o755)
    git(tree, "config", "core.fsmonitor", str(monitor))
    source_digest(tree)
    assert not witness.exists()
    subprocess.run(["git", "-C", str(tree), "status"], capture_output=True, timeout=30, check=True)
    assert witness.exists(), "git alone would have run it"


def test_the_index_is_not_touched(tree: Path) -> None:
    os.utime(tree / "a.txt", (1, 1))
    before = (tree / ".git" / "index").read_bytes()
    source_digest(tree)
    assert (tree / ".git" / "index").read_bytes() == before


def test_another_repository_inside_is_refused(tree: Path) -> None:
    git(tree, "init", "-q", "inner")
    git(tree / "inner", "commit", "-q", "--allow-empty", "-m", "x")
    with pytest.raises(BadInputError, match="neither a file nor") as caught:
        source_digest(tree)
    assert caught.value.hint is not None


def test_a_pipe_is_refused_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(BadInputError, match="neither a file nor"):
        source_digest(tmp_path / "tree")


def test_without_git_a_checkout_has_no_digest(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PrerequisiteError, match="git"):
        source_digest(tree)


def test_a_file_that_vanishes_meanwhile_is_an_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = module._listed

    def then_remove(root: Path) -> list[str]:
        paths = list(listed(root))
        (root / "a.txt").unlink()
        return paths

    monkeypatch.setattr(module, "_listed", then_remove)
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        source_digest(tree)


def test_a_checkout_that_git_refuses_is_an_error(tree: Path) -> None:
    (tree / ".git" / "HEAD").write_text("nonsense")
    with pytest.raises(AgencyError):
        source_digest(tree)


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..", ".git", "__pycache__") and len(name.encode()) < 100)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.dictionaries(NAMES, st.binary(max_size=40), max_size=6), seed=st.integers())
def test_the_order_in_which_files_were_made_does_not_matter(
    files: dict[str, bytes], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found: set[SourceDigest] = set()
    for number in range(2):
        root = tmp_path_factory.mktemp("tree")
        order = sorted(files)
        random.Random(seed + number).shuffle(order)
        for name in order:
            (root / name).write_bytes(files[name])
        found.add(source_digest(root))
    assert len(found) == 1
    assert found.pop().files == len(files)


def _documented(title: str) -> str:
    """The shell commands in the block of docs/transcript.md after the paragraph with `title`."""
    text = DOCUMENT.read_text()
    begin = text.index(title)
    block = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE).search(text, begin)
    assert block is not None
    return block[1]


def _shell(commands: str, directory: Path) -> str:
    argv = ["bash", "-euo", "pipefail", "-c", commands]
    env = {"PATH": os.environ["PATH"], "HOME": str(directory.parent)}
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documented_commands_give_the_same_digest(tree: Path) -> None:
    commands = _documented("Recompute the source digest")
    assert _shell(commands, tree).split() == [source_digest(tree).sha256, "-"]
    (tree / "a.txt").chmod(0o755)
    assert _shell(commands, tree).split() == [source_digest(tree).sha256, "-"]


def test_the_documented_commands_agree_on_this_project() -> None:
    root = source_root()
    if not (root / ".git").exists():
        pytest.skip("this project is not in a git checkout here")
    commands = _documented("Recompute the source digest")
    before, shell, after = source_digest(root), _shell(commands, root), source_digest(root)
    if before == after:  # else somebody is editing
        assert shell.split() == [after.sha256, "-"]


def test_own_source_is_the_checkout_or_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (source_root() / "pyscripts" / "agency" / "cli.py").is_file()
    installed = "/usr/lib/python3/site-packages/agency/source_digest.py"
    monkeypatch.setattr(module, "__file__", installed)
    assert source_root() == Path(installed).parent
