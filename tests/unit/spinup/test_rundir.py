"""A run's directory: locked while it lives, cleaned up once it is dead, never before."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agency import rundir
from agency.children import processes_with_marker
from agency.clock import new_id
from agency.errors import PrerequisiteError
from agency.locks import is_held

HOLDER = """
import sys, time
from pathlib import Path
from agency import rundir
run = rundir.create(Path(sys.argv[1]), sys.argv[2])
(run.path / "file").write_text("x")
print("held", flush=True)
time.sleep(120)
"""


def sleeper(marker: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"],
        env={"PATH": os.environ["PATH"], "AGENCY_RUN": marker},
    )


@pytest.fixture
def holder(tmp_path):
    run = new_id("run")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), run], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process, run, tmp_path
    process.kill()
    process.wait()


def test_directories_are_private(tmp_path):
    run = rundir.create(tmp_path / "base", "run-a")
    for path in (tmp_path / "base", run.path, run.logs, run.credentials):
        assert path.stat().st_mode & 0o777 == 0o700
    run.remove()
    assert not run.path.exists()


def test_a_living_run_is_left_alone(holder):
    _, run, base = holder
    own = sleeper(run)
    try:
        assert rundir.reap(base) == ()
        assert (base / run / "file").exists()
        assert own.poll() is None
        assert is_held(base / run / "lock")
    finally:
        own.kill()
        own.wait()


def test_a_killed_run_is_cleaned_up_and_a_stranger_is_not(holder):
    process, run, base = holder
    left, stranger = sleeper(run), sleeper(new_id("run"))
    try:
        deadline = time.monotonic() + 10
        while left.pid not in processes_with_marker(run):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(base / run / "lock")
        assert rundir.reap(base) == (run,)
        assert not (base / run).exists()
        assert left.wait(timeout=10) != 0
        assert stranger.poll() is None
    finally:
        for each in (left, stranger):
            each.kill()
            each.wait()


def test_a_run_that_lives_is_not_taken_over(holder):
    _, run, base = holder
    with pytest.raises(rundir.RunBusyError):
        rundir.create(base, run)


def test_a_place_that_cannot_be_written_is_a_missing_prerequisite(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PrerequisiteError) as caught:
        rundir.create(Path(tmp_path / "file" / "runs"), "run-a")
    assert caught.value.exit_code == 3


COMES_AND_GOES = """
import sys
from pathlib import Path
from agency import rundir
for number in range(300):
    rundir.create(Path(sys.argv[1]), f"{sys.argv[2]}-{number}").remove()
"""


def test_runs_that_come_and_go_together_do_not_meet(tmp_path):
    base = tmp_path / "runs"
    rundir.create(base, "run-first").remove()
    goers = [
        subprocess.Popen([sys.executable, "-c", COMES_AND_GOES, str(base), name])
        for name in ("run-a", "run-b")
    ]
    try:
        while any(goer.poll() is None for goer in goers):
            assert rundir.reap(base) == ()
            for path in base.glob("run-*"):
                is_held(path / "lock")  # as `agency guest list` asks
    finally:
        for goer in goers:
            goer.kill()
    assert [goer.wait() for goer in goers] == [0, 0]
    assert list(base.glob("run-*")) == []


def test_what_was_killed_without_a_lock_is_cleaned_up_too(tmp_path):
    (tmp_path / "runs" / "run-a" / "logs").mkdir(parents=True)
    assert not is_held(tmp_path / "runs" / "run-a" / "lock")
    assert rundir.reap(tmp_path / "runs") == ("run-a",)
    assert list((tmp_path / "runs").glob("run-*")) == []


@pytest.fixture
def asked(tmp_path):
    """A dead run whose lock somebody is just asking for, as `is_held` does."""
    base = tmp_path / "runs"
    rundir.create(base, "run-a").release()
    descriptor = os.open(base / "run-a" / "lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    yield base
    os.close(descriptor)


def test_asking_for_a_lock_does_not_make_a_dead_run_alive(asked):
    assert not is_held(asked / "run-a" / "lock")
    assert rundir.reap(asked) == ("run-a",)


def test_asking_for_a_lock_does_not_keep_a_run_from_being_made(asked):
    run = rundir.create(asked, "run-a")
    assert is_held(run.path / "lock")
    run.remove()


ASKS = """
import sys
from pathlib import Path
from agency.locks import is_held
print("asking", flush=True)
while True:
    is_held(Path(sys.argv[1]) / "run-a" / "lock")
"""


def test_who_asks_all_the_time_never_finds_a_lock_free_that_is_being_taken(tmp_path):
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert asker.stdout.readline() == "asking\n"
        for _ in range(500):
            rundir.create(tmp_path, "run-a").remove()
    finally:
        asker.kill()
        asker.wait()


def test_a_run_that_was_killed_before_its_lock_had_its_name_is_made_anew(tmp_path):
    (tmp_path / "run-a").mkdir()
    (tmp_path / "run-a" / ".lock").touch()
    assert not is_held(tmp_path / "run-a" / "lock")
    run = rundir.create(tmp_path, "run-a")
    assert not (run.path / ".lock").exists()
    run.remove()
