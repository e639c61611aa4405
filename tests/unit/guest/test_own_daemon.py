"""An Incus of our own: whatever happens between its start and its end, it can be ended."""

import subprocess
import sys

import pytest

from agency.errors import PrerequisiteError
from agency.guests.incus import daemon as daemons
from agency.guests.incus.daemon import OwnDaemon, answers

# What a daemon is to us: a program that listens on its socket until it is told to end.
LISTENS = """
import signal, socket, sys
listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listening.bind(sys.argv[1])
listening.listen()
print("listens", flush=True)
signal.pause()
"""


@pytest.fixture
def daemon(tmp_path):
    own = OwnDaemon(tmp_path)
    own.socket.parent.mkdir()
    return own


@pytest.fixture
def listener(daemon):
    argv = [sys.executable, "-c", LISTENS, str(daemon.socket)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "listens\n"
    yield process
    process.kill()
    process.wait()


def remember(daemon: OwnDaemon, pid: int, started: str | None = None) -> None:
    daemon.pid_file.write_text(f"{pid} {started or daemons._started_at(pid)}\n")


async def test_it_is_stopped_by_its_pid_file(daemon, listener):
    remember(daemon, listener.pid)
    daemon.socket.unlink()  # it hears nobody any more
    await daemons._stop(daemon)
    assert not daemon.pid_file.exists()
    assert listener.wait(30) is not None


@pytest.mark.parametrize("content", [None, "", "\n", "12", "none of it", f"{2**22 + 1} 5\n"])
async def test_without_a_pid_file_that_helps_it_is_known_by_its_socket(daemon, listener, content):
    if content is not None:
        daemon.pid_file.write_text(content)
    await daemons._stop(daemon)
    assert listener.wait(30) is not None
    assert not answers(daemon.socket)


@pytest.fixture
def stranger():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def test_who_has_the_pid_by_now_is_left_alone(daemon, stranger):
    remember(daemon, stranger.pid, started="1")
    await daemons._stop(daemon)
    assert stranger.poll() is None


async def test_one_that_cannot_be_remembered_is_not_left_running(daemon, monkeypatch, tmp_path):
    started = []

    class Seen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(daemons.subprocess, "Popen", Seen)
    program = tmp_path / "incusd"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    daemon.pid_file.mkdir()  # in its place, so that it cannot be written
    with pytest.raises(PrerequisiteError, match="cannot write") as caught:
        await daemons._start(daemon, program)
    assert caught.value.exit_code == 3
    assert len(started) == 1
    assert started[0].returncode is not None
