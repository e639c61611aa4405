"""Files of a run: its own regular ones, and nothing that a link or a path leads to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency.recipes.dashboard.files import MOST_FILES, NoFileError, RunFiles, log_path

RUN = "r00000000"


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    place = tmp_path / "artifacts" / RUN
    (place / "logs").mkdir(parents=True)
    (place / "screenshots").mkdir()
    (place / "result.json").write_text("{}")
    (place / "screenshots" / "front.png").write_bytes(b"png")
    (tmp_path / "outside").write_text("outside")
    other = tmp_path / "artifacts" / "r00000001"
    other.mkdir()
    (other / "result.json").write_text("of another run")
    return RunFiles(tmp_path / "artifacts", RUN)


def paths(files: RunFiles) -> list[str]:
    return [one.path for one in files.listing()]


def test_its_own_files_are_there(files: RunFiles) -> None:
    assert paths(files) == ["result.json", "screenshots/front.png"]
    assert files.read("screenshots/front.png", 100) == b"png"
    with pytest.raises(NoFileError, match="larger"):
        files.read("screenshots/front.png", 2)


@pytest.mark.parametrize(
    "path",
    [
        "../r00000001/result.json",
        "screenshots/../../r00000001/result.json",
        "/etc/passwd",
        "screenshots//front.png",
        "./result.json",
        "",
        "..",
        "a/b/c/d/e/f",
        "result.json\0",
        "no\nline",
        "x" * 300,
        "screenshots",
    ],
)
def test_no_path_leads_elsewhere(files: RunFiles, path: str) -> None:
    with pytest.raises(NoFileError), files.open(path):
        pass


@pytest.mark.parametrize("kind", ["file", "directory", "above", "hard", "fifo", "device"])
def test_no_link_and_nothing_special_is_shown(files: RunFiles, kind: str, tmp_path: Path) -> None:
    place = files.base / RUN
    asked = "bad"
    match kind:
        case "file":
            (place / "bad").symlink_to(tmp_path / "outside")
        case "directory":
            (place / "bad").symlink_to(tmp_path)
            asked = "bad/outside"
        case "above":
            (place / "screenshots").rename(place / "was")
            (place / "screenshots").symlink_to(files.base / "r00000001")
            asked = "screenshots/result.json"
        case "hard":
            os.link(tmp_path / "outside", place / "bad")
        case "fifo":
            os.mkfifo(place / "bad")
        case "device":
            (place / "bad").symlink_to("/dev/zero")
    with pytest.raises(NoFileError), files.open(asked):
        pass
    assert asked not in paths(files)


def test_a_directory_of_a_run_that_is_a_link_is_none(files: RunFiles) -> None:
    (files.base / "r00000002").symlink_to(files.base / "r00000001")
    linked = RunFiles(files.base, "r00000002")
    assert paths(linked) == []
    with pytest.raises(NoFileError), linked.open("result.json"):
        pass


@pytest.mark.parametrize("run", ["..", "", "r0000000", "r00000000/", "R00000000"])
def test_only_ids_of_runs_name_directories(files: RunFiles, run: str) -> None:
    with pytest.raises(NoFileError):
        RunFiles(files.base, run)


def test_logs_come_in_their_order(files: RunFiles) -> None:
    for name in ("teardown", "upgrade-services", "custom", "upgrade", "run", "zz", "progress"):
        (files.base / RUN / "logs" / f"{name}.log").write_text("x")
    (files.base / RUN / "logs" / "no.txt").write_text("x")
    (files.base / RUN / "logs" / "UPPER.log").write_text("x")
    assert [one.path for one in files.logs()] == [
        "progress", "run", "upgrade", "upgrade-services", "custom", "zz", "teardown",
    ]  # fmt: skip
    assert "logs/run.log" not in paths(files), "they have pages of their own"


@pytest.mark.parametrize("name", ["../x", "a.b", "", "A", "x" * 80, "-x"])
def test_a_logs_name_is_no_path(name: str) -> None:
    with pytest.raises(NoFileError):
        log_path(name)


def test_many_files_are_bounded(files: RunFiles) -> None:
    for number in range(MOST_FILES + 50):
        (files.base / RUN / f"f{number}").write_text("")
    assert len(paths(files)) == MOST_FILES
