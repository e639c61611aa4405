"""Journals of JSON lines: whole lines or none, through torn ends, full disks and kills."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import jsonl
from agency.jsonl import append_line, whole_lines

LINES = st.lists(st.binary(max_size=20).map(lambda each: each.replace(b"\n", b"")), max_size=8)
WRITER = """
import os, sys
from agency.jsonl import append_line
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
number = 0
while True:
    append_line(file, b'{"number": %d, "text": "%s"}' % (number, b"x" * (number % 5000)))
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    yield opened
    os.close(opened)


def content(file: int) -> bytes:
    return os.pread(file, 1_000_000, 0)


@given(LINES, st.binary(max_size=20))
def test_whole_lines_are_told_from_a_torn_end(lines: list[bytes], torn: bytes) -> None:
    torn = torn.replace(b"\n", b"")
    data = b"".join(each + b"\n" for each in lines)
    found = whole_lines(data + torn)
    assert found.lines == tuple(lines)
    assert found.size == len(data)


def test_what_is_appended_is_read_again(file: int) -> None:
    assert append_line(file, b'{"one": 1}') == 11
    assert append_line(file, b'{"two": 2}', durable=False) == 11
    assert whole_lines(content(file)).lines == (b'{"one": 1}', b'{"two": 2}')


def test_two_lines_are_not_one(file: int) -> None:
    with pytest.raises(ValueError, match="end of a line"):
        append_line(file, b"one\ntwo")
    assert content(file) == b""


def test_a_line_that_is_not_on_disk_is_not_in_the_file(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_line(file, b"before")

    def fails(_file: int) -> None:
        raise OSError(errno.EIO, "the disk does not answer")

    monkeypatch.setattr(jsonl.os, "fsync", fails)
    with pytest.raises(OSError, match="does not answer"):
        append_line(file, b"after")
    assert content(file) == b"before\n"
    assert append_line(file, b"without", durable=False) == 8


def test_a_file_that_may_not_grow_keeps_its_whole_lines(file: int) -> None:
    """The kernel writes a part of the line, as on a full disk."""
    append_line(file, b"x" * 50)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (80, before[1]))
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                append_line(file, b"y" * 50)
            assert content(file) == b"x" * 50 + b"\n"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    append_line(file, b"y" * 50)
    assert len(whole_lines(content(file)).lines) == 2


def test_killed_at_any_moment_what_was_appended_is_there(tmp_path: Path) -> None:
    for turn in range(3):
        path = tmp_path / f"journal-{turn}"
        argv = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.05 * turn)
            writer.kill()
            said = [int(each) for each in writer.stdout.read().split(b"\n")[:-1]]
        lines = whole_lines(path.read_bytes()).lines
        found = [json.loads(each)["number"] for each in lines]
        assert found == list(range(len(found)))
        assert len(found) > max(said, default=0)
