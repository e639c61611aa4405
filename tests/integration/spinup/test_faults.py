"""However a spin-up fails: a signed transcript that says so, exit status 1, and nothing left."""

import os
import shutil
import signal
import socket
import subprocess

import pytest

from agency.children import processes_with_marker

NO_NAMESPACE = "--no-namespace"


def assert_failed(spinup, run: str, step: str) -> dict:
    """The common part: what every failed spin-up owes its user."""
    assert spinup.end() == 1, spinup.text
    predicate = spinup.predicate()
    assert predicate["result"] == "FAILED"
    assert predicate["failure"]["step"] == step
    said = " ".join(spinup.text.split())
    assert " ".join(predicate["failure"]["message"].split()) in said
    verified = spinup.verify()
    assert verified.returncode == 1
    assert "authentic" in verified.stdout + verified.stderr
    assert "result: FAILED" in spinup.text
    spinup.assert_nothing_left(run)
    return predicate


def test_a_good_spin_up_passes_and_leaves_only_the_transcript(spinup):
    good = spinup().start()
    run = good.run
    assert good.end() == 0, good.text
    assert "result: PASSED" in good.text
    verified = good.verify("--require-gate", "control")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    good.assert_nothing_left(run)
    assert sorted(p.name for p in good.output.parent.iterdir()) == [
        "transcript.json",
        "transcript.pub",
    ]
    key = good.state_home / "agency" / "transcript.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text() not in good.text


def test_the_control_plane_killed_in_mid_scenario(spinup):
    run_up = spinup().start()
    run = run_up.run
    run_up.reach("scenario")
    os.kill(run_up.find("control", "run"), signal.SIGKILL)
    predicate = assert_failed(run_up, run, "scenario")
    assert "control" in predicate["failure"]["message"]
    assert predicate["failure"]["logTail"]


def test_a_homeserver_that_dies_at_start(spinup):
    run_up = spinup().start()
    run = run_up.run
    os.kill(run_up.find("synapse.app.homeserver"), signal.SIGKILL)
    predicate = assert_failed(run_up, run, "homeserver")
    assert "homeserver" in predicate["failure"]["message"]


def test_an_agent_that_never_becomes_healthy(spinup):
    run_up = spinup().start()
    run = run_up.run
    run_up.reach("scenario")
    os.kill(run_up.find("agent", "run"), signal.SIGSTOP)
    predicate = assert_failed(run_up, run, "scenario")
    assert "did not start: not healthy" in predicate["failure"]["message"]
    assert predicate["failure"]["logTail"]


def test_a_port_that_is_taken(spinup):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run_up = spinup(NO_NAMESPACE, f"--port=homeserver={port}").start()
        run = run_up.run
        predicate = assert_failed(run_up, run, "install")
    assert str(port) in predicate["failure"]["message"]
    assert {gate["name"]: gate["met"] for gate in predicate["gates"]} == {
        "hermetic": False,
        "control": False,
        "shop": False,
    }
    assert all(gate["reason"] for gate in predicate["gates"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small filesystem")
def test_a_full_disk(spinup, tmp_path):
    state = tmp_path / "small"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=0700", "tmpfs", str(state)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        run_up = spinup(state=state).start()
        run = run_up.run
        fill(state)
        assert run_up.end() == 1, run_up.text
        predicate = run_up.predicate()
        assert predicate["result"] == "FAILED"
        explained = str(predicate["failure"]).lower()
        assert "no space left" in explained or "disk is full" in explained
        run_up.assert_nothing_left(run)
    finally:
        subprocess.run(["umount", str(state)], check=True, timeout=30)


def fill(directory):
    """Leave a megabyte on the disk of a directory: too little for a homeserver's database."""
    free = shutil.disk_usage(directory).free
    (directory / "filling").write_bytes(bytes(max(free - (1 << 20), 0)))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small filesystem")
def test_a_disk_without_space_for_the_copy(spinup, tmp_path):
    state = tmp_path / "small"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(state)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        run_up = spinup(state=state).start()
        assert run_up.end() == 3, run_up.text
        assert "the copy of the program: No space left" in run_up.text
        assert not run_up.output.exists()
        again = spinup(state=state).start()  # what the first left is removed
        assert again.end() == 3
        assert list((state / "agency").glob("*/.making*")) == []
    finally:
        subprocess.run(["umount", str(state)], check=True, timeout=30)


def test_ctrl_c(spinup):
    run_up = spinup().start()
    run = run_up.run
    run_up.reach("scenario")
    run_up.process.send_signal(signal.SIGINT)
    predicate = assert_failed(run_up, run, "scenario")
    assert "interrupted" in predicate["failure"]["message"]


def test_sigterm_twice_before_the_first_step(spinup):
    run_up = spinup().start()
    run = run_up.run  # it has a directory, and nothing else yet
    for _ in range(2):
        run_up.process.send_signal(signal.SIGTERM)
    assert run_up.end() == 1, run_up.text
    assert run_up.predicate()["failure"]["message"] == "interrupted by a signal"
    assert "result: FAILED" in run_up.text
    run_up.assert_nothing_left(run)


@pytest.mark.parametrize(
    "step", [pytest.param("homeserver", marks=pytest.mark.thorough), "scenario"]
)
def test_kill_9_leaves_no_process_and_the_next_run_removes_the_rest(spinup, step):
    killed = spinup().start()
    run = killed.run
    killed.reach(step)
    killed.find("synapse.app.homeserver")
    killed.process.kill()
    killed.process.wait()
    next_run = spinup(state=killed.state_home).start()
    assert next_run.end() == 0, next_run.text
    assert processes_with_marker(run) == ()
    assert list(killed.runs.glob("run-*")) == []
    assert not killed.output.exists()


def test_a_time_limit(spinup):
    run_up = spinup("--timeout", "1.2").start()
    run = run_up.run
    assert run_up.end() == 1, run_up.text
    predicate = run_up.predicate()
    assert "time limit" in predicate["failure"]["message"]
    run_up.assert_nothing_left(run)


def test_without_a_namespace_it_passes_but_is_not_hermetic(spinup):
    run_up = spinup(NO_NAMESPACE).start()
    assert run_up.end() == 0, run_up.text
    gate = run_up.predicate()["gates"][0]
    assert gate["name"] == "hermetic"
    assert not gate["met"]
    assert run_up.predicate()["quarantine"]["attempts"] == []
    assert run_up.verify("--require-gate", "hermetic").returncode == 1
    assert run_up.verify().returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--instance", "no-such-directory"), 1, "no-such-directory"),
        (("--port", "homeserver"), 2, "NAME=NUMBER"),
        (("--port", "teapot=8000"), 2, "teapot"),
        (("--target", "moon"), 2, "moon"),
        (("--output", "/proc/self/fdinfo/transcript.json"), 3, "cannot be written"),
    ],
)
def test_a_spin_up_that_cannot_begin_leaves_no_transcript(spinup, arguments, status, words):
    run_up = spinup(*arguments).start()
    assert run_up.end() == status
    assert words in run_up.text
    assert not run_up.output.exists()
    assert not list(run_up.runs.glob("run-*"))
