import subprocess

import pytest

from agency.errors import BadInputError, UsageError
from agency.recipes.run.checkout import Source, fetch, parse_source


def git(place, *words):
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(place), *words]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    place = tmp_path / "wiki"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    for number in (1, 2):
        (place / "compose.yml").write_text(f"v{number}")
        (place / ".gitignore").write_text("ignored\n")
        git(place, "add", "-A")
        git(place, "commit", "-q", "-m", str(number))
        if number == 1:
            git(place, "tag", "1.0.0+1")
    return place


def fetched(text, tmp_path):
    return fetch(parse_source(text), tmp_path / "target")


def test_a_reference_is_checked_out_with_the_tags(repository, tmp_path):
    found = fetched(f"{repository}@1.0.0+1", tmp_path)
    assert (found.directory / "compose.yml").read_text() == "v1"
    assert (found.tags(), found.tag_commits(), found.modified) == (
        ("1.0.0+1",),
        ("1.0.0+1",),
        False,
    )
    assert found.commit == git(repository, "rev-parse", "1.0.0+1")


@pytest.mark.parametrize("how", ["branch", "commit", "url"])
def test_branches_commits_and_urls(repository, tmp_path, how):
    ref = git(repository, "rev-parse", "HEAD") if how == "commit" else "main"
    place = f"file://{repository}" if how == "url" else str(repository)
    found = fetched(f"{place}@{ref}", tmp_path)
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert (found.directory / "compose.yml").read_text() == "v2"


def test_a_directory_is_taken_as_it_is_on_disk(repository, tmp_path):
    (repository / "compose.yml").write_text("v3")
    (repository / "new").write_text("n")
    (repository / "ignored").write_text("i")
    found = fetched(str(repository), tmp_path)
    assert found.modified
    assert sorted(p.name for p in found.directory.iterdir() if p.name != ".git") == [
        ".gitignore", "compose.yml", "new",
    ]  # fmt: skip
    assert (found.directory / "compose.yml").read_text() == "v3"
    assert git(found.directory, "status", "--porcelain") == ""
    found.switch("1.0.0+1")
    assert (found.directory / "compose.yml").read_text() == "v1"
    found.switch_to_head()
    assert (found.directory / "compose.yml").read_text() == "v3"
    assert git(repository, "status", "--porcelain") != ""  # the source is as it was


def test_a_file_that_was_removed_on_disk_is_not_there(repository, tmp_path):
    (repository / "compose.yml").unlink()
    found = fetched(str(repository), tmp_path)
    assert not (found.directory / "compose.yml").exists()


def test_a_clean_directory_is_its_commit(repository, tmp_path):
    found = fetched(str(repository), tmp_path)
    assert (found.modified, found.commit) == (False, git(repository, "rev-parse", "HEAD"))


def test_a_directory_without_git(tmp_path):
    place = tmp_path / "plain"
    place.mkdir()
    (place / "compose.yml").write_text("x")
    found = fetched(str(place), tmp_path)
    assert (found.tags(), (found.directory / "compose.yml").read_text()) == ((), "x")
    with pytest.raises(UsageError, match="not a git repository"):
        fetch(parse_source(f"{place}@main"), tmp_path / "other")


def test_hooks_of_the_recipe_do_not_run(repository, tmp_path):
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    fetched(f"{repository}@main", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "/nowhere",
        "ext::sh -c id",
        "--upload-pack=id",
        "https://x/y@--option",
        "https://x/y@a..b",
        "-",
    ],
)
def test_what_is_neither_is_refused(text):
    with pytest.raises(UsageError):
        parse_source(text)


def test_a_reference_with_a_command_in_it_is_refused(repository):
    for ref in ("a';id;'", "-x", "a b", "../x"):
        with pytest.raises(UsageError):
            parse_source(f"{repository}@{ref}")


def test_a_reference_that_is_not_there_is_said(repository, tmp_path):
    with pytest.raises(BadInputError, match="cannot be fetched"):
        fetched(f"{repository}@nobody", tmp_path)


def test_a_commit_of_a_pull_request_is_found_by_the_ref_that_holds_it(repository, tmp_path):
    """No branch has it: it came from a fork, and was replaced there by a newer one."""
    git(repository, "checkout", "-q", "--detach")
    commits = []
    for text in ("first try", "second try"):
        (repository / "compose.yml").write_text(text)
        git(repository, "commit", "-q", "-a", "-m", text)
        commits.append(git(repository, "rev-parse", "HEAD"))
    git(repository, "update-ref", "refs/pull/7/head", commits[1])
    git(repository, "checkout", "-q", "main")
    source = Source(f"file://{repository}", commits[0], "refs/pull/7/head")
    found = fetch(source, tmp_path / "target")
    assert found.commit == commits[0]
    assert (found.directory / "compose.yml").read_text() == "first try"
    assert found.tags() == ("1.0.0+1",)


@pytest.mark.parametrize(
    ("commit", "via"),
    [
        ("e" * 40, "refs/pull/7/head"),
        ("main", "refs/heads/main"),
        ("e" * 40, "--upload-pack=sh"),
        ("e" * 40, "refs/heads/../../x"),
    ],
)
def test_a_commit_that_is_not_there_is_told(repository, tmp_path, commit, via):
    with pytest.raises(BadInputError):
        fetch(Source(f"file://{repository}", commit, via), tmp_path / "target")
