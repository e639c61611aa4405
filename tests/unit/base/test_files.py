"""Files are replaced whole or not at all, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from as_nobody import hiding_place

from agency.errors import PrerequisiteError
from agency.files import is_absent, recover_tree, write_atomically, write_tree_atomically

OLD = {"a.txt": b"old a", "sub/b.txt": b"old b"}
NEW = {"a.txt": b"new a", "sub/c.txt": b"new c"}
# Every call by which the two functions touch the file system.
CALLS: tuple[tuple[Any, str], ...] = (
    (tempfile, "mkdtemp"),
    (tempfile, "mkstemp"),
    (os, "fdopen"),
    (os, "fchmod"),
    (os, "fsync"),
    (Path, "mkdir"),
    (Path, "chmod"),
    (Path, "replace"),
    (Path, "rename"),
)


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def fail_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, nth: int, error: BaseException
) -> list[int]:
    """Let the nth call of `owner.name` raise; returns the counter."""
    count = [0]
    real: Callable[..., Any] = getattr(owner, name)

    def failing(*args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] == nth:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return count


def test_a_file_is_written_with_its_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f", b"x", mode=0o600)
    assert (tmp_path / "f").read_bytes() == b"x"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_the_mode_is_never_wider_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(tmp_path / "f", b"x", mode=0o600)
    assert seen == [0o600]


@pytest.mark.parametrize("name", ["mkstemp", "fchmod", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    target = tmp_path / "f"
    target.write_bytes(b"old")
    owner = {"mkstemp": tempfile, "replace": Path}.get(name, os)
    fail_at(monkeypatch, owner, name, 1, error)
    expected = PrerequisiteError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_tree_is_replaced_exactly(tmp_path: Path) -> None:
    directory = tmp_path / "generated"
    write_tree_atomically(directory, OLD)
    write_tree_atomically(directory, NEW)
    assert tree(directory) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]
    assert directory.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=[name for _, name in CALLS])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), KeyboardInterrupt()])
def test_a_tree_stays_whole_whichever_step_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    nth: int,
    error: BaseException,
) -> None:
    directory = tmp_path / "generated"
    write_tree_atomically(directory, OLD)
    failed = False
    with monkeypatch.context() as patch:
        count = fail_at(patch, owner, name, nth, error)
        try:
            write_tree_atomically(directory, NEW)
        except (PrerequisiteError, KeyboardInterrupt):
            failed = True
    reached = count[0] >= nth
    assert failed == reached
    assert tree(directory) == (OLD if failed else NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


_KILLED = """
import os, sys
from pathlib import Path
from agency.files import write_tree_atomically
nth, count, real = int(sys.argv[2]), 0, Path.rename
def rename(self, target):
    global count
    count += 1
    if count == nth:
        os._exit(9)
    return real(self, target)
Path.rename = rename
write_tree_atomically(Path(sys.argv[1]), {"a.txt": b"new"})
os._exit(7)
"""


@pytest.mark.parametrize("nth", [1, 2])
def test_after_a_kill_the_old_tree_is_there_or_comes_back(tmp_path: Path, nth: int) -> None:
    directory = tmp_path / "generated"
    write_tree_atomically(directory, OLD)
    done = subprocess.run([sys.executable, "-c", _KILLED, str(directory), str(nth)], timeout=30)
    assert done.returncode == 9
    recover_tree(directory)
    assert tree(directory) == OLD
    write_tree_atomically(directory, NEW)
    assert tree(directory) == NEW


def test_recovery_removes_what_a_kill_after_the_last_rename_left(tmp_path: Path) -> None:
    directory = tmp_path / "generated"
    write_tree_atomically(directory, NEW)
    shutil.copytree(directory, tmp_path / ".generated.old")
    recover_tree(directory)
    assert tree(directory) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


def test_a_real_place_that_cannot_be_written() -> None:
    with pytest.raises(PrerequisiteError, match="nothing was changed") as caught:
        write_tree_atomically(Path("/proc/agency-generated"), NEW)
    assert caught.value.where == "/proc/agency-generated"


def test_a_file_where_the_directory_should_be_is_refused_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "generated"
    target.write_bytes(b"mine")
    with pytest.raises(PrerequisiteError, match="directory"):
        write_tree_atomically(target, NEW)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


def test_a_missing_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError):
        write_tree_atomically(tmp_path / "no" / "generated", NEW)
    assert list(tmp_path.iterdir()) == []


class TestALinkInThePlaceOfATree:
    """The fault was an error at this and at each later attempt."""

    def test_it_is_refused_and_stays(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "f").write_text("mine")
        (tmp_path / "tree").symlink_to("real")
        for _ in range(2):
            with pytest.raises(PrerequisiteError, match="is a link to real") as caught:
                write_tree_atomically(tmp_path / "tree", {"a": b"1"})
            assert caught.value.hint == f"remove the link: `rm {tmp_path / 'tree'}`"
        assert (tmp_path / "real" / "f").read_text() == "mine"

    def test_a_link_that_was_moved_aside_once_is_recovered(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / ".tree.old").symlink_to("real")
        write_tree_atomically(tmp_path / "tree", {"a": b"1"})
        assert (tmp_path / "tree" / "a").read_bytes() == b"1"
        assert not (tmp_path / ".tree.old").is_symlink()
        assert (tmp_path / "real").is_dir()


def test_a_file_that_is_hidden_is_not_taken_for_absent() -> None:
    with hiding_place() as place:
        (place / "closed").mkdir()
        file = place / "closed" / "f"
        assert is_absent(file)
        assert is_absent(file / "below")
        file.write_text("x")
        assert not is_absent(file)
        assert is_absent(file / "below"), "a file has nothing below it"
        (place / "closed").chmod(0)
        assert not is_absent(file)
        assert not is_absent(place / "closed" / "none"), "nobody knows that"
