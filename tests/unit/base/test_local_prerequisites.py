"""A user without a home, and a file system without locks, get exit status 3 and the reason."""

import errno
import fcntl
import pwd

import pytest

from agency import locks, rundir
from agency.errors import ExitCode, PrerequisiteError
from agency.paths import state_dir


def test_a_user_without_home_is_told_what_to_set(monkeypatch):
    def nobody(_uid):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(PrerequisiteError, match="HOME is not set") as caught:
        state_dir({})
    assert "XDG_STATE_HOME" in caught.value.hint
    assert caught.value.exit_code == ExitCode.PREREQUISITE
    assert state_dir({"XDG_STATE_HOME": "/s"}).as_posix() == "/s/agency"


@pytest.mark.parametrize(
    "ask",
    [
        lambda place: locks.try_lock(place / "x"),
        lambda place: locks.is_held(place / "there"),
        lambda place: rundir.create(place, "up-1"),
    ],
)
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, ask):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "there").touch()
    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(PrerequisiteError, match="cannot lock files") as caught:
        ask(tmp_path)
    assert "local file system" in caught.value.hint
