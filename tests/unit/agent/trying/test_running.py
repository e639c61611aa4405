"""Place of a trial: its sockets have paths that the kernel takes, wherever temporary files go."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from agency.agent.trying.running import short_enough


@pytest.mark.parametrize(("length", "stays"), [(20, True), (76, True), (77, False), (200, False)])
def test_a_place_that_is_too_long_for_a_socket_is_not_taken(length: int, stays: bool) -> None:
    directory = f"/tmp/{'d' * (length - 5)}"
    assert short_enough(directory) == (directory if stays else "/tmp")


def test_letters_of_more_than_one_byte_count() -> None:
    assert short_enough("/tmp/" + "ü" * 60) == "/tmp"


def test_the_longest_that_stays_has_room_for_the_socket() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        directory = Path(base + "/" + "d" * (76 - len(base) - 1))
        directory.mkdir()
        assert short_enough(str(directory)) == str(directory)
        with tempfile.TemporaryDirectory(prefix="agency-try-", dir=directory) as place:
            one = socket.socket(socket.AF_UNIX)
            one.bind(f"{place}/proxy.sock")
            one.close()
