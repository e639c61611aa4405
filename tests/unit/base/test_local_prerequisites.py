"""What a user without a home, and a file system without locks, are told: exit status 3, and why."""

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


@pytest.mark.parametrize("ask", ["lock", "held", "run"])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, ask):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "there").touch()
    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(PrerequisiteError, match="cannot lock files") as caught:
        if ask == "lock":
            locks.try_lock(tmp_path / "x")
        elif ask == "held":
            locks.is_held(tmp_path / "there")
        else:
            rundir.create(tmp_path, "up-1")
    assert "local file system" in caught.value.hint
