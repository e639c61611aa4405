"""Logs of runs: how many and how much of them is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency.workspace import logs
from agency.workspace.logs import prune


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five logs of 100 bytes, the first the oldest, with a file and a link that are none."""
    for number in range(5):
        path = tmp_path / f"task-{number}.log"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    (tmp_path / "mine.log").write_text("mine")
    (tmp_path / "task-link.log").symlink_to("mine.log")
    return tmp_path


@pytest.mark.parametrize(
    ("most_logs", "most_bytes", "kept"),
    [(100, 10**9, "01234"), (5, 500, "01234"), (2, 500, "34"), (5, 300, "234"), (5, 10, "4")],
)
def test_the_newest_logs_are_kept_by_number_and_by_size(
    folder, monkeypatch, most_logs, most_bytes, kept
):
    monkeypatch.setattr(logs, "MOST_LOGS", most_logs)
    monkeypatch.setattr(logs, "MOST_BYTES", most_bytes)
    prune(folder, "task-*.log")
    left = {path.name for path in folder.iterdir()}
    assert left == {"mine.log", "task-link.log", *(f"task-{each}.log" for each in kept)}


def test_a_folder_that_is_gone_is_no_fault(tmp_path):
    prune(tmp_path / "gone", "*.log")
