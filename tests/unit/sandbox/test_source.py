"""What a source may bring: bounded, and nothing of it is followed elsewhere."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.programs import ProgramError
from agency.sandbox import contents, source
from agency.sandbox.contents import archive
from agency.sandbox.source import Source, fetch, parse_source

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "commit.gpgsign=false")


def git(directory: Path, *argv: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(directory), *IDENTITY, *argv),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit that is a checkout of this project, as far as looked at."""
    place = tmp_path / "repository"
    for name in ("requirements", "modules/portable", "pyscripts"):
        (place / name).mkdir(parents=True)
    for name in ("pyproject.toml", "requirements/guest.txt", "modules/portable/x", "pyscripts/y"):
        (place / name).write_text("first\n")
    git(place, "init", "--quiet")
    return place


def committed(repository: Path) -> Source:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "x")
    return parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD')}")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    place = tmp_path / "into"
    place.mkdir()
    return place


def test_a_commit_is_checked_out_and_its_history_is_not(repository: Path, into: Path) -> None:
    first = committed(repository)
    (repository / "pyproject.toml").write_text("second\n")
    committed(repository)
    (repository / "pyproject.toml").write_text("third\n")
    committed(repository)
    second = parse_source(f"{repository}@{git(repository, 'rev-parse', 'HEAD~1')}")
    directory = fetch(second, into)
    assert (directory / "pyproject.toml").read_text() == "second\n"
    assert git(directory, "rev-list", "--all", "--count", "HEAD") == "1"
    with pytest.raises(subprocess.CalledProcessError):
        git(directory, "cat-file", "-e", str(first.commit))


def test_a_commit_that_is_not_there_is_said_in_gits_words(repository: Path, into: Path) -> None:
    committed(repository)
    with pytest.raises(ProgramError) as caught:
        fetch(parse_source(f"{repository}@{'0' * 40}"), into)
    assert caught.value.where == "git"
    assert "0000000" in caught.value.message, "why, not only that"


def test_a_place_that_is_no_repository_is_said_so(tmp_path: Path, into: Path) -> None:
    with pytest.raises(ProgramError, match="does not appear to be a git repository"):
        fetch(parse_source(f"{tmp_path}/nothing@{'0' * 40}"), into)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another")
def test_the_repository_of_another_user_is_read(repository: Path, into: Path) -> None:
    wanted = committed(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert (fetch(wanted, into) / "pyproject.toml").exists()


def test_hooks_and_settings_of_a_repository_are_not_run(repository: Path, into: Path) -> None:
    wanted = committed(repository)
    mark = into / "it-ran"
    hook = f"#!/bin/sh\ntouch {mark}\n"
    for name in ("post-checkout", "post-upload-pack", "reference-transaction", "pre-auto-gc"):
        file = repository / ".git" / "hooks" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(hook)
        file.chmod(0o755)
    program = into / "program"
    program.write_text(hook)
    program.chmod(0o755)
    for key in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.pager"):
        git(repository, "config", key, str(program))
    fetch(wanted, into)
    assert not mark.exists()


def test_a_large_pack_is_refused(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "large").write_bytes(os.urandom(200_000))
    wanted = committed(repository)
    monkeypatch.setattr(source, "MAX_FETCHED_BYTES", 100_000)
    with pytest.raises(ProgramError, match="fatal"):
        fetch(wanted, into)
    monkeypatch.setattr(source, "MAX_FETCHED_BYTES", 400_000)
    shutil.rmtree(into / "checkout")
    assert (fetch(wanted, into) / "large").exists()


def test_what_becomes_large_only_when_checked_out_is_refused(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_CHECKOUT_BYTES", 3_000_000)
    (repository / "zeros").write_bytes(bytes(3_000_001))
    with pytest.raises(BadInputError, match="a checkout would have"):
        fetch(committed(repository), into)
    assert not (into / "checkout" / "zeros").exists()


def test_few_objects_that_name_many_files_are_refused(repository: Path, into: Path) -> None:
    """Ten directories in each other with ten names each: 10**10 files of a few kilobytes."""
    tree = git(repository, "hash-object", "-w", "pyproject.toml")
    kind, mode = "blob", "100644"
    for _ in range(10):
        lines = "".join(f"{mode} {kind} {tree}\td{n}\n" for n in range(10))
        done = subprocess.run(
            ("git", "-C", str(repository), "mktree"),
            input=lines.encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        tree, kind, mode = done.stdout.decode().strip(), "tree", "040000"
    commit = git(repository, "commit-tree", tree, "-m", "x")
    git(repository, "update-ref", "refs/heads/bomb", commit)
    with pytest.raises(BadInputError, match="more than 20000 files"):
        fetch(parse_source(f"{repository}@{commit}"), into)


def test_no_room_is_said_before_anything_is_fetched(
    repository: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_ROOM_BYTES", 1 << 62)
    with pytest.raises(PrerequisiteError, match="disk space"):
        fetch(committed(repository), into)
    assert not (into / "checkout").exists()


def names(packed: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {(entry.uid, entry.gid) for entry in tar} == {(0, 0)}
        return {entry.name for entry in tar}


def test_a_guest_gets_the_parts_it_needs(repository: Path) -> None:
    (repository / "pyscripts/link").symlink_to("/etc/passwd")
    os.mkfifo(repository / "pyscripts/pipe")
    (repository / "pyscripts/__pycache__").mkdir()
    for name in ("secrets/catalogue.json", "setup.py", "secrets.yaml"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).touch()
    assert names(archive(repository)) == {
        *("pyproject.toml", "pyscripts", "pyscripts/y", "pyscripts/link"),
        *("modules/portable", "modules/portable/x"),
        *("secrets", "secrets/catalogue.json", "setup.py"),
    }


def test_a_large_file_is_refused_before_it_is_read(repository: Path) -> None:
    with (repository / "pyscripts/sparse").open("wb") as file:
        file.truncate(10 * 1024**4)
    with pytest.raises(BadInputError, match="larger than 67108864 bytes") as caught:
        archive(repository)
    assert caught.value.where == "pyscripts/sparse"


def test_many_small_files_are_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_BYTES", 20_000)
    archive(repository)
    for number in range(20):
        (repository / "pyscripts" / str(number)).touch()
    with pytest.raises(BadInputError, match="larger"):
        archive(repository)


def test_directories_in_each_other_are_refused(repository: Path) -> None:
    (repository / "pyscripts" / "/".join("d" * (contents.MAX_DEPTH + 1))).mkdir(parents=True)
    with pytest.raises(BadInputError, match="in each other"):
        archive(repository)


def test_no_part_is_taken_from_behind_a_link(repository: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "portable").mkdir(parents=True)
    (elsewhere / "portable" / "secret").write_text("x")
    shutil.rmtree(repository / "modules")
    (repository / "modules").symlink_to(elsewhere)
    with pytest.raises(BadInputError, match="a link") as caught:
        archive(repository)
    assert caught.value.where == "modules"


def test_a_part_that_is_a_link_stays_one(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    shutil.rmtree(repository / "pyscripts")
    (repository / "pyscripts").symlink_to(tmp_path)
    assert "pyscripts" in names(archive(repository))
    assert not {name for name in names(archive(repository)) if "secret" in name}


def test_this_checkout_is_within_the_bounds() -> None:
    root = Path(__file__).resolve().parents[3]
    assert 3 * len(archive(root)) < 2 * contents.MAX_BYTES
    with pytest.raises(AgencyError):
        fetch(parse_source(str(root / "docs")), root)
