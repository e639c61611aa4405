"""Tests of Unix sockets that listen, and of who is on their other side."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.unix_sockets import Peer, listen_at, peer_of, short_path

HINT = "make its directory"


def talk(path: Path) -> Peer:
    with listen_at(path, hint=HINT) as listening, socket.socket(socket.AF_UNIX) as client:
        with short_path(path) as name:
            client.connect(name)
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            return peer_of(accepted)


def test_the_peer_is_this_process_as_the_kernel_tells(tmp_path: Path) -> None:
    assert talk(tmp_path / "sock") == Peer(os.getpid(), os.geteuid())


def test_a_path_that_is_too_long_for_the_kernel_is_listened_at(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as plain:
        plain.bind(str(directory / "sock"))
    assert talk(directory / "sock").uid == os.geteuid()
    assert stat.S_ISSOCK((directory / "sock").lstat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_socket_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o022)
    try:
        with listen_at(tmp_path / "sock", mode=mode, hint=HINT):
            assert stat.S_IMODE((tmp_path / "sock").lstat().st_mode) == mode
        assert os.umask(0o022) == 0o022  # and the process has its own umask back
    finally:
        os.umask(before)


def test_the_socket_of_a_program_that_was_killed_gives_way(tmp_path: Path) -> None:
    listen_at(tmp_path / "sock", hint=HINT).close()
    assert (tmp_path / "sock").is_socket()
    assert talk(tmp_path / "sock").uid == os.geteuid()


def test_a_file_that_is_no_socket_is_left_and_named(tmp_path: Path) -> None:
    kept = tmp_path / "sock"
    kept.write_text("somebody's")
    with pytest.raises(PrerequisiteError, match="no socket") as caught:
        listen_at(kept, hint=HINT)
    assert (caught.value.where, caught.value.hint) == (str(kept), HINT)
    assert kept.read_text() == "somebody's"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    listen_at(tmp_path / "theirs", hint=HINT).close()
    (tmp_path / "sock").symlink_to(tmp_path / "theirs")
    with pytest.raises(PrerequisiteError, match="no socket"):
        listen_at(tmp_path / "sock", hint=HINT)
    assert (tmp_path / "theirs").is_socket()


def test_a_missing_directory_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="No such file") as caught:
        listen_at(tmp_path / "none" / "sock", hint=HINT)
    assert caught.value.hint == HINT
