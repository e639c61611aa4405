"""Where the socket is, who may use it, and which control plane a command finds."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from agency.control.commands import GRAMMAR, parse
from agency.control.entrance import client
from agency.control.entrance.client import find_socket
from agency.control.entrance.command import text_of
from agency.control.entrance.place import listen, place_of
from agency.errors import PrerequisiteError, UsageError


def test_a_service_is_for_root_alone_and_a_local_agency_for_its_user(tmp_path: Path) -> None:
    service = place_of(tmp_path, {"RUNTIME_DIRECTORY": "/run/agency-control"})
    assert service.path == Path("/run/agency-control/command.sock")
    assert service.admitted == {0}
    local = place_of(tmp_path, {})
    assert local.path == tmp_path / "command.sock"
    assert local.admitted == {0, os.geteuid()}


def test_only_its_owner_may_connect_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "command.sock"
    before = os.umask(0)
    try:
        listen(path).close()
        with listen(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "command.sock"
    path.write_text("mine")
    with pytest.raises(PrerequisiteError, match="there is a file that is no socket"):
        listen(path)
    assert path.read_text() == "mine"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    local, host = tmp_path / "local.sock", tmp_path / "host.sock"
    monkeypatch.setattr(client, "local_socket", lambda: local)
    monkeypatch.setattr(client, "host_socket", lambda: host)
    return local, host


def test_the_one_that_runs_is_found(places: tuple[Path, Path]) -> None:
    local, host = places
    with pytest.raises(PrerequisiteError, match="no control plane runs on this machine"):
        find_socket()
    listen(local).close()
    with listen(host):
        assert find_socket() == host
        with listen(local), pytest.raises(UsageError, match="two control planes run") as caught:
            find_socket()
    assert str(local) in str(caught.value.where)


def test_one_that_is_not_for_this_user_is_said_to_be_so(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with listen(places[1]):
        monkeypatch.setattr(client, "short_path", forbidden)
        with pytest.raises(PrerequisiteError, match="this user may not command") as caught:
            find_socket()
    assert "run it as root" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("agents", "stop", "pm"), "!agency agents stop pm"),
        (("agents stop pm",), "!agency agents stop pm"),
        (("!agency agents stop pm",), "!agency agents stop pm"),
        (("!stop-agent", "pm"), "!stop-agent pm"),
        (("/ruriko", "ping"), "/ruriko ping"),
        (
            ("agents", "start", "pm", "--project", "new app"),
            '!agency agents start pm --project "new app"',
        ),
        (
            ("agents", "start", "pm", '--project=a "b"'),
            '!agency agents start pm --project="a \\"b\\""',
        ),
    ],
)
def test_words_of_a_shell_become_words_of_the_room(words: tuple[str, ...], text: str) -> None:
    assert text_of(words) == text
    parse(text)


def test_no_flag_of_a_command_is_an_option_of_ours() -> None:
    from agency.control.entrance.command import command

    ours = {name for each in command.params for name in each.opts}
    flags = {f"--{flag.name}" for spec in GRAMMAR.commands for flag in spec.flags}
    assert flags, "positive control"
    assert not ours & flags


def test_a_socket_of_another_kind_is_told_apart(tmp_path: Path) -> None:
    """One that answers nothing of ours."""
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        with pytest.raises(PrerequisiteError, match="no control plane runs here"):
            client._connect(path)
