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


def other_commit(tree: Path) -> None:
    """Have git take the commit for another one, whose tree is what lies there."""
    first = git(tree, "rev-parse", "HEAD")
    (tree / "a.txt").write_text("b\n")
    git(tree, "commit", "-q", "-a", "-m", "second")
    second = git(tree, "rev-parse", "HEAD")
    git(tree, "update-ref", "HEAD", first)
    git(tree, "replace", first, second)


def flagged(flag: str) -> Callable[[Path], None]:
    def hide(tree: Path) -> None:
        git(tree, "update-index", flag, "a.txt")
        (tree / "a.txt").write_text("b\n")

    return hide


def mode_not_looked_at(tree: Path) -> None:
    git(tree, "config", "core.fileMode", "false")
    (tree / "a.txt").chmod(0o755)


def line_endings(tree: Path) -> None:
    git(tree, "config", "core.autocrlf", "true")
    (tree / "a.txt").unlink()
    git(tree, "checkout", "-q", "--", "a.txt")
    assert (tree / "a.txt").read_bytes() == b"a\r\n"


def elsewhere(tree: Path) -> None:
    other = tree.parent / "elsewhere"
    shutil.copytree(tree, other, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    git(tree, "config", "core.worktree", str(other))
    (tree / "a.txt").write_text("b\n")


def filtered(tree: Path) -> None:
    """Have a clean filter give the old content for the new one."""
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/attributes").write_text("a.txt filter=x\n")
    git(tree, "config", "filter.x.clean", "printf 'a\\n'")
    (tree / "a.txt").write_text("b\n")


HIDING: dict[str, Callable[[Path], None]] = {
    "assume-unchanged": flagged("--assume-unchanged"),
    "skip-worktree": flagged("--skip-worktree"),
    "replaced commit": other_commit,
    "fileMode": mode_not_looked_at,
    "autocrlf": line_endings,
    "worktree": elsewhere,
    "filter": filtered,
}


@pytest.mark.parametrize("way", list(HIDING))
def test_what_git_status_does_not_see_is_no_clean_commit(way: str, tree: Path) -> None:
    clean = source_digest(tree)
    assert set(clean.digest_set()) == {"sha256", "gitCommit", "gitTree"}
    HIDING[way](tree)
    assert git(tree, "status", "--porcelain") == "", "git sees it"
    found = source_digest(tree)
    assert found.sha256 != clean.sha256
    assert set(found.digest_set()) == {"sha256"}


def test_a_setting_that_leads_to_an_equal_tree_elsewhere_is_no_commit_here(tree: Path) -> None:
    elsewhere(tree)
    (tree / "a.txt").write_text("a\n")
    assert set(source_digest(tree).digest_set()) == {"sha256"}


def hidden_by_info(tree: Path) -> None:
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/exclude").write_text("hidden\n")


def hidden_by_setting(tree: Path) -> None:
    (tree.parent / "excludes").write_text("hidden\n")
    git(tree, "config", "core.excludesFile", str(tree.parent / "excludes"))


def hidden_by_case(tree: Path) -> None:
    git(tree, "config", "core.ignoreCase", "true")
    (tree / "hidden").rename(tree / "IGNORED")


def hidden_by_itself(tree: Path) -> None:
    (tree / "hidden/.gitignore").write_text("*\n")


@pytest.mark.parametrize(
    "hide", [hidden_by_info, hidden_by_setting, hidden_by_case, hidden_by_itself]
)
def test_only_the_trees_own_list_leaves_files_out(hide: Callable[[Path], None], tree: Path) -> None:
    clean = source_digest(tree)
    (tree / "hidden").mkdir()
    (tree / "hidden/__init__.py").write_text("evil")
    hide(tree)
    found = source_digest(tree)
    assert found.sha256 != clean.sha256
    assert found.dirty


@pytest.mark.parametrize("in_git", [True, False])
def test_a_list_that_is_a_link_leaves_nothing_out(in_git: bool, tree: Path) -> None:
    """Its target is in no digest, and could be changed unseen."""
    (tree.parent / "list").write_text("hidden\n")
    (tree / "hidden").write_text("evil")
    if not in_git:
        shutil.rmtree(tree / ".git")
    (tree / ".gitignore").write_text("hidden\n")
    assert "hidden" not in module.source_files(tree), "positive control"
    (tree / ".gitignore").unlink()
    (tree / ".gitignore").symlink_to(tree.parent / "list")
    assert "hidden" in module.source_files(tree)


def witnessed(tree: Path, said: str = "") -> tuple[Path, Path]:
    """Make a program that says something and leaves a witness of its run."""
    witness, program = tree.parent / "ran", tree.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch {witness}\n{said}\n")
    program.chmod(0o755)
    return witness, program


def test_the_checkouts_own_filter_is_not_run(tree: Path) -> None:
    witness, program = witnessed(tree, "cat")
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/attributes").write_text("* filter=x\n")
    git(tree, "config", "filter.x.clean", str(program))
    git(tree, "config", "filter.x.process", str(program))
    (tree / "a.txt").touch()
    source_digest(tree)
    assert not witness.exists()
    git(tree, "config", "--unset", "filter.x.process")
    subprocess.run(["git", "-C", str(tree), "status"], capture_output=True, timeout=30)
    assert witness.exists(), "git alone would have run it"


def test_a_missing_object_is_not_fetched_by_the_checkouts_own_program(tree: Path) -> None:
    witness, program = witnessed(tree, "exit 1")
    commit = git(tree, "rev-parse", "HEAD")
    git(tree, "config", "remote.origin.url", f"ext::{program}")
    git(tree, "config", "remote.origin.promisor", "true")
    git(tree, "config", "protocol.ext.allow", "always")
    git(tree, "config", "core.repositoryFormatVersion", "1")
    git(tree, "config", "extensions.partialClone", "origin")
    (tree / f".git/objects/{commit[:2]}/{commit[2:]}").unlink()
    found = source_digest(tree)
    assert set(found.digest_set()) == {"sha256"}
    assert not witness.exists()
    argv = ["git", "-C", str(tree), "cat-file", "commit", commit]
    subprocess.run(argv, capture_output=True, timeout=30)
    assert witness.exists(), "git alone would have run it"


def test_an_object_that_is_not_of_its_id_is_no_commit(tree: Path) -> None:
    """The ids are computed from the contents: a store that lies says nothing."""
    git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    second, first = git(tree, "rev-parse", "HEAD", "HEAD~1").split()
    objects = tree / ".git/objects"
    (objects / first[:2] / first[2:]).chmod(0o644)
    shutil.copy(objects / second[:2] / second[2:], objects / first[:2] / first[2:])
    git(tree, "update-ref", "--no-deref", "HEAD", second)
    (tree / ".git/HEAD").write_text(first + "\n")
    assert source_digest(tree).git_commit != first


def test_a_tree_with_subtrees_has_the_id_that_git_gives(tree: Path) -> None:
    for path in ("a/b/c", "a.b", "a-b", "a0/x", "b/d.txt"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "second")
    found = source_digest(tree)
    assert found.git_tree == git(tree, "rev-parse", "HEAD^{tree}")
    assert not found.dirty


def test_an_archive_with_environments_and_results_has_the_digest_of_the_checkout(
    tree: Path, tmp_path: Path
) -> None:
    shutil.copy(module.source_root() / ".gitignore", tree)
    git(tree, "commit", "-q", "-a", "-m", "second")
    export = tmp_path / "export"
    shutil.copytree(tree, export, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    for path in (".venv/lib/a.py", ".tools/bin/b", "artifacts/c.json", "sub dir/__pycache__/d.pyc",
                 "e.pyc", "x.egg-info/f", ".ruff_cache/g", "result-2"):  # fmt: skip
        for root in (tree, export):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("made here")
    assert source_digest(export).sha256 == source_digest(tree).sha256
    (export / "artifact").write_text("no line of .gitignore names it")
    assert source_digest(export).sha256 != source_digest(tree).sha256


def test_outside_git_bytecode_is_left_out_without_a_list(tmp_path: Path) -> None:
    """An installed package has no .gitignore, and its bytecode is written when it runs."""
    (tmp_path / "a.py").write_text("a = 1\n")
    before = source_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("made here")
    assert source_digest(tmp_path) == before
    (tmp_path / "b.py").write_text("b = 1\n")
    assert source_digest(tmp_path) != before


@pytest.mark.parametrize("line", ["a/b", "!a", "**/a", "a\\ "])
def test_outside_git_a_line_that_only_git_can_apply_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.gitignore").write_text(f"# names\n\n/top/\n{line}\n")
    with pytest.raises(BadInputError, match="patterns of one name") as caught:
        source_digest(tmp_path / "tree")
    assert str(caught.value.where).endswith(".gitignore:4")


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
).filter(
    lambda name: (
        name not in (".", "..", ".git", ".gitignore", "__pycache__") and len(name.encode()) < 100
    )
)


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


@pytest.mark.thorough  # the same commands on a small tree run always
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


def _installed_from(tree: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a small source tree and a package that was built from it; it is then our own."""
    for package in (tree / "pyscripts" / "agency", place / "agency"):
        (package / "part").mkdir(parents=True)
        (package / "cli.py").write_text("main = 1\n")
        (package / "part" / "deep.py").write_text("deep = 1\n")
    monkeypatch.setattr(module, "__file__", str(place / "agency" / "source_digest.py"))
    return place / "agency"


def test_an_installed_program_is_told_the_tree_it_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _installed_from(tmp_path / "tree", tmp_path / "site", monkeypatch)
    assert source_root({}) == package
    assert source_root({"AGENCY_SOURCE": ""}) == package
    assert source_root({"AGENCY_SOURCE": str(tmp_path / "tree")}) == tmp_path / "tree"


@pytest.mark.parametrize("name", ["cli.py", "part/deep.py", "part/more.py"])
def test_another_tree_is_not_taken_for_the_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transcript would name a source that did not run."""
    _installed_from(tmp_path / "tree", tmp_path / "site", monkeypatch)
    (tmp_path / "tree" / "pyscripts" / "agency" / name).write_text("main = 2\n")
    with pytest.raises(PrerequisiteError, match="not the source"):
        source_root({"AGENCY_SOURCE": str(tmp_path / "tree")})


def test_a_tree_that_is_gone_is_not_taken_for_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed_from(tmp_path / "tree", tmp_path / "site", monkeypatch)
    with pytest.raises(PrerequisiteError, match="not the source"):
        source_root({"AGENCY_SOURCE": str(tmp_path / "gone")})
