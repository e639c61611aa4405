"""Limits of a run, each really reached: the run is red, says why, and leaves nothing."""

import subprocess
import time

import pytest

CHATTY = """
import sys, time
def test_endless(capfd):
    with capfd.disabled():
        while True:
            print("still at it", flush=True)
            time.sleep(0.05)
"""
FORKS = """
import os, time
def test_forks():
    for _ in range({count}):
        if os.fork() == 0:
            os.setsid()
            os.execve("/bin/sleep", ["sleep", "71{count}"], {{}})
    time.sleep(1)
"""


def nothing_is_left(bench):
    return (bench.on_swarm(), bench.private()) == ([], [])


@pytest.mark.thorough
def test_the_deadline_of_a_run_ends_what_goes_on_talking(bench):
    (bench.recipe / "tests" / "test_install.py").write_text(CHATTY)
    began = time.monotonic()
    ended = bench.try_("--json", "--run-timeout=15", "--suite-timeout=170")
    assert ended.status == 1
    assert time.monotonic() - began < 60
    assert ended.stage("install")["reason"] == "the deadline of the run was reached: 15 s"
    assert ended.stage("upgrade")["outcome"] == "skip"
    assert ended.report["deadline"] == {"seconds": 15, "reached": True}
    logs = bench.artifacts / ended.report["run"] / "logs"
    assert (logs / "install.log").read_text().count("still at it") > 20
    assert nothing_is_left(bench)


def test_the_deadline_ends_an_abra_that_hangs(bench):
    bench.fault("hang")
    ended = bench.try_("--json", "--run-timeout=8", "--stage=install")
    assert ended.report["deadline"]["reached"]
    assert ended.stage("install")["outcome"] == "fail"
    assert nothing_is_left(bench)


@pytest.mark.thorough
@pytest.mark.parametrize(("count", "reason"), [(300, ""), (3000, "processes and threads")])
def test_tests_that_fork_leave_nothing(bench, count, reason):
    (bench.recipe / "tests" / "test_install.py").write_text(FORKS.format(count=count))
    ended = bench.try_("--json", "--stage=install")
    assert reason in ended.stage("install")["reason"]
    assert ended.stage("install")["outcome"] == ("fail" if reason else "pass")
    assert bench.processes(f"71{count}") == []
    log = (bench.artifacts / ended.report["run"] / "logs" / "install.log").read_text()
    assert reason or "ended 300 processes that the tests left running" in log
    assert nothing_is_left(bench)


STAYS = """
import os, time
def test_stays():
    if os.fork() == 0:
        os.setsid()
        os.execve("/bin/sleep", ["sleep", "7199"], {})
    time.sleep(100)
"""


@pytest.mark.thorough
def test_what_a_killed_run_had_forked_without_its_mark_is_ended_by_the_next(bench, refused):
    (bench.recipe / "tests" / "test_install.py").write_text(STAYS)
    with bench.started("--stage=install") as killed:
        deadline = time.monotonic() + 90
        while not bench.processes("7199"):
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        killed.kill()
        killed.wait()
    assert bench.processes("7199")
    assert "janitor: removed" in bench.try_(source=str(refused)).stderr
    assert bench.processes("7199") == []
    assert nothing_is_left(bench)


@pytest.fixture
def refused(tmp_path):
    """A recipe that ends a run right after its janitor."""
    place = tmp_path / "refused"
    place.mkdir()
    (place / ".env.sample").write_text("TYPE=refused\n")
    (place / "compose.yml").write_text("services: {app: {image: x, privileged: true}}\n")
    return place


FILLS = """
def test_fills(capfd):
    with capfd.disabled():
        for _ in range(4000):
            print("x" * 99)
"""


@pytest.fixture
def small(tmp_path):
    """A place of 200 KiB for the results."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.thorough
def test_a_full_disk_ends_the_run_and_leaves_nothing_of_the_app(bench, small):
    (bench.recipe / "tests" / "test_install.py").write_text(FILLS)
    ended = bench.try_("--json", "--stage=install", f"--artifacts={small}")
    assert ended.status == 3
    assert "No space left on device" in ended.stderr
    assert "teardown: clean" in ended.stderr
    assert nothing_is_left(bench)
