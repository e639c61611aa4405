"""Archives: the same members are the same bytes, root's, and hold what was asked for."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from agency.archive import EPOCH, File, archive, tree, unpack
from agency.errors import InternalError


def members(packed: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return tar.getmembers()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "b").mkdir(parents=True)
    (made / "b" / "run").write_text("#!/bin/sh\n")
    (made / "b" / "run").chmod(0o750)
    (made / "a").symlink_to("/etc/passwd")
    (made / "x.skipped").mkdir()
    (made / "x.skipped" / "y").touch()
    os.mkfifo(made / "pipe")
    return made


def test_a_tree_is_listed_in_order_without_pipes_and_what_is_skipped(root: Path) -> None:
    assert [name for name, _ in tree(root, skip=(".skipped",))] == ["a", "b", "b/run"]
    assert [name for name, _ in tree(root / "b", "at/b")] == ["at/b", "at/b/run"]
    assert [name for name, _ in tree(root / "a", "a")] == ["a"], "a link is not followed"


def test_members_are_root_s_and_keep_mode_and_link(root: Path) -> None:
    seen = {one.name: one for one in members(archive(tree(root)))}
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in seen.values()} == {
        (0, 0, "root", EPOCH)
    }
    assert seen["b/run"].mode == 0o750
    assert seen["a"].linkname == "/etc/passwd"
    assert seen["b"].isdir()


def test_a_file_that_is_on_no_disk_has_what_it_says() -> None:
    (one,) = members(archive([("etc/x", File(b"abc", 0o600, 5, 6))], mtime=7))
    assert (one.name, one.size, one.mode, one.uid, one.gid, one.mtime) == (
        *("etc/x", 3, 0o600, 5, 6),
        7,
    )


def test_plain_members_are_equal_whatever_their_modes(root: Path) -> None:
    first = archive(tree(root / "b", "b"), plain=True)
    (root / "b" / "run").chmod(0o600)
    assert archive(tree(root / "b", "b"), plain=True) == first
    assert archive(tree(root / "b", "b")) != first


@pytest.mark.parametrize(("name", "plain"), [("a", True), ("pipe", True), ("pipe", False)])
def test_what_is_no_file_is_refused(root: Path, name: str, plain: bool) -> None:
    with pytest.raises(InternalError, match="no plain file") as caught:
        archive([(name, root / name)], plain=plain)
    assert caught.value.where == name


@pytest.fixture(params=["filters", "no filters"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pythons with and without tarfile's filters, which came with 3.11.4."""
    if request.param == "filters" and not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python's tarfile has no filters")
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.usefixtures("python")
def test_what_was_packed_is_unpacked(root: Path, tmp_path: Path) -> None:
    (root / "b" / "link").symlink_to("run")
    unpack(archive(tree(root / "b")), tmp_path / "new" / "place")
    assert (tmp_path / "new" / "place" / "run").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "new" / "place" / "link").readlink() == Path("run")


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("name", ["../out", "/out", "in/../../out"])
def test_nothing_is_unpacked_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError, match="lies outside of the archive") as caught:
        unpack(archive([(name, File(b""))]), tmp_path / "a" / "place")
    assert caught.value.where == name
    assert not (tmp_path / "a" / "out").exists()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("target", ["../out", "/etc"])
def test_no_link_leads_elsewhere(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(InternalError, match="lies outside of the archive"):
        unpack(archive(tree(tmp_path / "link", "link")), tmp_path / "a" / "place")


@pytest.mark.usefixtures("python")
def test_only_files_directories_and_links_are_unpacked(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        pipe = tarfile.TarInfo("pipe")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
    with pytest.raises(InternalError, match="no file, directory or link"):
        unpack(packed.getvalue(), tmp_path / "a" / "place")
