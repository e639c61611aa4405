"""The end of a log: bounded, whole lines, from a file that is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency.control.runtimes.base import MAX_LOG_BYTES, MAX_LOG_LINES, AgentRuntimeError
from agency.control.runtimes.logs import file_tail, last_lines


def test_the_last_lines_of_all_texts() -> None:
    assert last_lines(["a\nb", "c"], 2) == ("b", "c")
    assert last_lines(["a\nb", "c"], 9) == ("a", "b", "c")
    assert last_lines([], 5) == ()


def test_bounds() -> None:
    assert len(last_lines(["x"] * 500, 500)) == MAX_LOG_LINES
    kept = last_lines(["y" * 1000] * MAX_LOG_LINES, MAX_LOG_LINES)
    assert len(kept) == MAX_LOG_BYTES // 1001
    (left_out,) = last_lines(["first", "z" * (MAX_LOG_BYTES + 1)], 5)
    assert "left out" in left_out
    assert "z" * 10 not in left_out, "a part of a line may be half a secret"


def test_a_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert file_tail(log, 5) == ()
    log.write_bytes(b"one\ntw\xff\nthree\n")
    assert file_tail(log, 2) == ("tw\ufffd", "three")
    assert file_tail(log, 5) == ("one", "tw\ufffd", "three")


def test_a_line_that_begins_before_what_is_read_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("S" * 100 + "\n" + "a" * (MAX_LOG_BYTES - 50) + "\nlast\n")
    assert file_tail(log, 5) == ("a" * (MAX_LOG_BYTES - 50), "last")
    log.write_text("S" * 2 * MAX_LOG_BYTES + "\n")
    (left_out,) = file_tail(log, 5)
    assert "left out" in left_out
    assert "SSS" not in left_out


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "secret").write_text("of somebody else\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for name in ("fifo", "link"):
        with pytest.raises(AgentRuntimeError, match="cannot be read"):
            file_tail(tmp_path / name, 5)
    with pytest.raises(AgentRuntimeError, match="not a regular file"):
        file_tail(tmp_path, 5)
    assert file_tail(tmp_path / "secret", 5) == ("of somebody else",)
