"""No work begins in a repository that is not ready."""

import shutil

import pytest
from contracts import Bench
from repositories import git

from agency.errors import UsageError
from agency.workspace.contract.preflight import (
    PreflightError,
    branch_name,
    clear,
    enter,
    find_repository,
)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_repository_that_is_ready_is_cleared_and_nothing_is_changed(bench):
    before = git(bench.place, "status", "--porcelain", "--branch")
    cleared = clear(bench.checkout)
    assert (cleared.base, cleared.origin_branch) == (bench.base, "main")
    assert set(cleared.refs) == {"refs/heads/main", "refs/heads/other"}
    assert git(bench.place, "status", "--porcelain", "--branch") == before


def changed(bench):
    (bench.place / "app").write_text("mine\n")


def untracked(bench):
    (bench.place / "new").write_text("mine\n")


def staged(bench):
    changed(bench)
    git(bench.place, "add", "app")


def no_remote(bench):
    git(bench.place, "remote", "remove", "origin")


def remote_gone(bench):
    bench.remote.rename(bench.remote.with_name("gone"))


def no_commit(bench):
    git(bench.place, "checkout", "-q", "--orphan", "new")
    git(bench.place, "rm", "-rqf", ".")


def work_tree_elsewhere(bench):
    (bench.home / "elsewhere").mkdir()
    git(bench.place, "config", "core.worktree", str(bench.home / "elsewhere"))


def no_repository(bench):
    shutil.rmtree(bench.place / ".git")
    (bench.place / ".git").mkdir()


def common_elsewhere(bench):
    (bench.place / ".git" / "commondir").write_text(str(bench.remote))


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (changed, "1 changes that are not committed: app"),
        (untracked, "not committed: new"),
        (staged, "not committed: app"),
        (no_remote, "its remote cannot be read"),
        (remote_gone, "its remote cannot be read"),
        (no_commit, "has no commit yet"),
        (work_tree_elsewhere, "is elsewhere"),
        (no_repository, "not a git repository"),
        (common_elsewhere, "is elsewhere"),
    ],
)
def test_a_repository_that_is_not_ready_is_refused(bench, spoil, wanted):
    spoil(bench)
    with pytest.raises(PreflightError, match=wanted):
        clear(bench.checkout)


@pytest.mark.parametrize("name", ["", ".", "..", "../app", "/etc", "a/b", "-c"])
def test_a_repository_is_named_and_not_a_path(bench, name):
    with pytest.raises(UsageError):
        find_repository(bench.repos, name)
    assert find_repository(bench.repos, "app") == bench.place


@pytest.mark.parametrize("which", [".repos", "app", ".git"])
def test_a_maze_of_links_is_not_walked(bench, tmp_path, which):
    path = {".repos": bench.repos, "app": bench.place, ".git": bench.place / ".git"}[which]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PreflightError, match="a symbolic link"):
        find_repository(bench.repos, "app")


def test_a_repository_that_points_to_another_is_refused(bench):
    shutil.rmtree(bench.place / ".git")
    (bench.place / ".git").write_text(f"gitdir: {bench.remote}\n")
    with pytest.raises(PreflightError, match="no repository here"):
        find_repository(bench.repos, "app")


def test_the_branch_is_named_after_agent_and_task():
    assert branch_name("agent-pm/", "mend-it") == "agent-pm/mend-it"


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a b", "../x", "a/b", "a.lock", "x" * 61])
def test_a_slug_that_is_none_is_refused(slug):
    with pytest.raises(UsageError):
        branch_name("agent-pm/", slug)


def test_the_branch_is_made_and_entered_again(bench):
    enter(bench.checkout, clear(bench.checkout), "agent-pm/x")
    git(bench.place, "commit", "-q", "--allow-empty", "-m", "more")
    newer = git(bench.place, "rev-parse", "HEAD")
    git(bench.place, "switch", "-q", "main")
    enter(bench.checkout, clear(bench.checkout), "agent-pm/x")
    assert git(bench.place, "rev-parse", "HEAD") == newer
    assert git(bench.place, "branch", "--show-current").strip() == "agent-pm/x"
