"""Finding and ending what a killed run left, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agency import children
from agency.children import ChildError, kill_marked, processes_with_marker

Start = Callable[..., "subprocess.Popen[bytes]"]
STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
SLEEP = "import sys, time; sys.stdout.write('r'); sys.stdout.flush(); time.sleep(600)"


@pytest.fixture
def marker(tmp_path: Path) -> str:
    return f"run-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a sleeping process with the given AGENCY_RUN and waits until it sleeps."""
    started: list[subprocess.Popen[bytes]] = []

    def start(value: str | None, code: str = SLEEP) -> subprocess.Popen[bytes]:
        env = {"PATH": os.defpath, "OTHER": f"AGENCY_RUN={value}"}
        env |= {"AGENCY_RUN": value} if value is not None else {}
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"r"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_only_marked_processes_are_ended(start: Start, marker: str) -> None:
    marked = [start(marker), start(f"outer/{marker}"), start(f"{marker}/inner")]
    decoys = [start(None), start(marker + "0"), start(marker[:-1]), start(f"x{marker}")]
    pids = tuple(sorted(process.pid for process in marked))
    assert processes_with_marker(marker) == pids
    assert kill_marked(marker, timeout=20) == pids
    assert processes_with_marker(marker) == ()
    assert [process.wait(timeout=20) for process in marked] == [-signal.SIGTERM] * 3
    assert [process.poll() for process in decoys] == [None] * 4


def test_what_ignores_sigterm_is_killed(start: Start, marker: str) -> None:
    stubborn = start(marker, STUBBORN + SLEEP)
    assert kill_marked(marker, timeout=0.2) == (stubborn.pid,)
    assert stubborn.wait(timeout=20) == -signal.SIGKILL


def test_a_process_is_seen_while_it_changes_its_program(
    start: Start, marker: str, tmp_path: Path
) -> None:
    argv = f"[{sys.executable!r}, '-S', '-c', sys.argv[1], sys.argv[1]]"
    code = f"import os, sys; os.execv({sys.executable!r}, {argv})"
    changing = start(
        marker, f"import os, sys; os.write(1, b'r'); sys.argv[1:] = [{code!r}]; {code}"
    )
    for _ in range(300):
        assert processes_with_marker(marker) == (changing.pid,)
    assert kill_marked(marker, timeout=20) == (changing.pid,)


def test_nothing_to_end(marker: str) -> None:
    assert kill_marked(marker, timeout=20) == ()


def test_this_process_is_not_a_leftover(start: Start, marker: str) -> None:
    code = (
        "import os; from agency.children import kill_marked, processes_with_marker;"
        f"print(processes_with_marker({marker!r}), kill_marked({marker!r}, timeout=20))"
    )
    other = start(marker)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.defpath, "AGENCY_RUN": marker},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"({other.pid},) ({other.pid},)\n"
    assert done.returncode == 0


def test_a_pid_that_passed_to_a_stranger_is_not_signalled(
    start: Start, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = start(None)
    seen = iter([(stranger.pid,)])
    monkeypatch.setattr(children, "processes_with_marker", lambda _: next(seen, ()))
    assert kill_marked(marker, timeout=20) == ()
    assert stranger.poll() is None


def test_what_does_not_end_is_told(
    start: Start, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(marker)
    monkeypatch.setattr(children, "_KILL_WAIT_S", 0.05)
    monkeypatch.setattr(children, "_signal_if_marked", lambda *_: False)
    with pytest.raises(ChildError, match=str(process.pid)):
        kill_marked(marker, timeout=0.05)


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "a\n", "a=b", "a\0", "x" * 129, "../x", ".x"])
def test_a_malformed_marker_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="marker"):
        processes_with_marker(bad)
    with pytest.raises(ValueError, match="marker"):
        kill_marked(bad, timeout=1)
