"""Beside another apt: set-up waits for its lock, says so, and not for ever."""

import fcntl
import subprocess
import sys
import threading

import debian_packages as debian
import pytest

# Like apt: holds a lock of fcntl(2) until its input ends.
HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path, monkeypatch):
    file = tmp_path / "lock-frontend"
    monkeypatch.setattr(debian, "LOCKS", (tmp_path / "none", file))
    monkeypatch.setattr(debian, "LOCK_POLL_S", 0.02)
    return file


@pytest.fixture
def other(lock):
    """Another apt, which holds the lock."""
    argv = [sys.executable, "-c", HOLDER, str(lock)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate()


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """A stand-in for apt-get, which fails as often as it is told to, and counts."""
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {seen}\n[ "$(wc -l < {seen})" -gt "$FAILS" ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAILS", "0")
    return seen


def test_a_free_lock_is_not_waited_for(lock, apt, capsys):
    lock.touch()
    debian.apt_get("update", wait_s=0)
    assert apt.read_text() == "update\n"
    assert capsys.readouterr().out == ""


def test_who_holds_it_is_named_and_looking_takes_nothing(lock, other):
    assert debian.holder(lock) == other.pid
    assert f"process {other.pid} (" in debian.held()
    other.communicate()
    assert debian.held() is None
    assert debian.held() is None


def test_it_waits_until_the_other_one_has_ended(lock, other, apt, capsys):
    has_ended = threading.Event()

    def end():
        has_ended.set()
        other.communicate()

    ending = threading.Timer(0.3, end)
    ending.start()
    debian.apt_get("install", "x")
    assert has_ended.is_set(), "it did not wait"
    ending.join()
    assert other.returncode == 0
    assert apt.read_text() == "install x\n"
    (line,) = capsys.readouterr().out.splitlines()
    assert f"process {other.pid} (" in line
    assert "600 s at most" in line


def test_it_does_not_wait_for_ever(lock, other, apt, capsys):
    with pytest.raises(SystemExit) as ending:
        debian.apt_get("install", "x", wait_s=0.1)
    assert ending.value.code == 3
    assert not apt.exists(), "apt was called"
    assert f"process {other.pid} (" in capsys.readouterr().out.splitlines()[-1]


def test_one_that_was_faster_is_waited_for_too(lock, apt, monkeypatch):
    monkeypatch.setenv("FAILS", "1")
    held = iter([None, "process 7 (apt) holds it", "process 7 (apt) holds it", None])
    monkeypatch.setattr(debian, "held", lambda: next(held))
    debian.apt_get("install", "x")
    assert apt.read_text() == "install x\n" * 2


def test_a_failure_that_no_lock_explains_is_one(lock, apt, monkeypatch):
    monkeypatch.setenv("FAILS", "9")
    with pytest.raises(SystemExit) as ending:
        debian.apt_get("install", "x")
    assert ending.value.code == 3
    assert apt.read_text() == "install x\n"


def test_our_own_lock_of_another_kind_is_none(lock):
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert debian.holder(lock) is None
