"""Control groups of suites: real ones where this machine lets one be made."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agency.recipes.stages import bounding
from agency.recipes.stages.bounding import bounded
from agency.recipes.stages.cgroup import Hierarchy, Limits, hierarchies, make, within_parents

RUN = "r0bvndtst"
needs_group = pytest.mark.skipif(
    os.geteuid() != 0 or not hierarchies(), reason="no control group can be made here"
)


def started(suite, script):
    argv = [*suite.prefix, sys.executable, "-c", script]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


# They leave their session and drop the mark of the run: nothing but the group knows them.
LEAVES = """
import os, sys, time
for _ in range({count}):
    try:
        pid = os.fork()
    except BlockingIOError:
        print("no more", flush=True)
        break
    if pid == 0:
        os.setsid()
        os.execve("/bin/sleep", ["sleep", "{nap}"], {{}})
print("done", flush=True)
time.sleep({stays})
"""


def sleepers(nap):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", nap.encode()]:
            found.append(int(place.name))
    return found


@needs_group
def test_what_a_suite_leaves_running_is_ended_also_what_left_its_session():
    with bounded(RUN, Limits(tasks=400)) as suite:
        process = started(suite, LEAVES.format(count=300, nap="7123", stays=0))
        assert process.stdout.readline() == "done\n"
        assert process.wait(10) == 0
        process.stdout.close()
        deadline = time.monotonic() + 10
        while len(sleepers("7123")) < 300:  # they were there, and are not
            assert time.monotonic() < deadline
    assert sleepers("7123") == []
    assert suite.killed == 300
    assert suite.exceeded() == ""


@needs_group
def test_a_fork_loop_meets_the_limit_and_nothing_of_it_is_left():
    with bounded(RUN, Limits(tasks=50)) as suite:
        process = started(suite, LEAVES.format(count=1000, nap="7124", stays=60))
        assert process.wait(10) == -9  # long before it would end
        process.stdout.close()
        directories = suite.group.directories
    assert sleepers("7124") == []
    assert suite.exceeded() == "it wanted more than 50 processes and threads"
    assert not any(place.exists() for place in directories)


@needs_group
def test_what_a_killed_run_left_in_its_group_is_ended_and_others_are_not():
    groups = [make(f"agency-{run}-1", Limits(), hierarchies()) for run in (RUN, "r0thers00")]
    suites = [bounding.Bounded(group, Limits()) for group in groups]
    left = [started(one, LEAVES.format(count=1, nap="7125", stays=60)) for one in suites]
    try:
        for process in left:
            assert process.stdout.readline() == "done\n"
        bounding.end_left(RUN, 0.0)
        assert left[0].wait(10) == -9
        assert left[1].poll() is None
        assert not any(place.exists() for place in groups[0].directories)
    finally:
        for group in groups:
            group.end()
        for process in left:
            process.stdout.close()
            process.wait(10)
    assert sleepers("7125") == []


EATS = "import os, time\nfor _ in range(3): os.fork()\nkept = b'x' * (64 << 20)\ntime.sleep(60)\n"


@needs_group
def test_processes_that_eat_memory_together_are_ended(monkeypatch):
    monkeypatch.setattr(bounding, "_LOOK_S", 0.05)
    with bounded(RUN, Limits(memory_bytes=256 << 20)) as suite:
        process = started(suite, EATS)
        assert process.wait(30) == -9
        process.stdout.close()
    assert suite.exceeded() == "it wanted more than 256 MiB of memory"


@pytest.mark.parametrize(
    ("unit", "slice_", "wanted"),
    [
        ("2147483648\n", "max\n", 1610612736),
        ("max\n", "1073741824\n", 805306368),
        ("1073741824\n", "2147483648\n", 805306368),
        ("max\n", "max\n", 4 << 30),
        ("17179869184\n", "max\n", 4 << 30),
    ],
)
def test_a_suite_has_less_memory_than_the_unit_it_runs_in(tmp_path, unit, slice_, wanted):
    base = tmp_path / "top" / "ci.slice" / "runner.service"
    base.mkdir(parents=True)
    (base / "memory.max").write_text(unit)
    (base.parent / "memory.max").write_text(slice_)
    (tmp_path / "memory.max").write_text("1\n")  # outside the hierarchy
    assert within_parents(4 << 30, base, tmp_path / "top") == wanted


def test_without_a_group_the_mark_of_the_run_finds_what_is_left(monkeypatch):
    monkeypatch.setattr(bounding, "make", lambda *_: None)
    with bounded(RUN, Limits()) as suite:
        assert suite.prefix == ()
        child = subprocess.Popen(["sleep", "60"], env={"AGENCY_RUN": RUN}, start_new_session=True)
    assert child.wait(10) == -9
    assert suite.killed == 1


def delegated(place, controllers="pids memory"):
    place.mkdir(parents=True)
    (place / "cgroup.subtree_control").write_text("")
    (place / "cgroup.controllers").write_text(controllers)
    try:
        os.setxattr(place, "user.delegate", b"1")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    return place


def test_of_version_2_only_a_delegated_subtree_is_used(tmp_path):
    own = tmp_path / "system.slice" / "runner.service" / "main"
    unit = Hierarchy(2, tmp_path, own)
    own.mkdir(parents=True)
    assert make("x", Limits(), (unit,)) is None
    own.rmdir()
    own.parent.rmdir()
    delegated(own.parent)
    own.mkdir()
    group = make("x", Limits(), (unit,))
    assert group is not None
    assert group.directories == (own.parent / "x",)
    assert (own.parent / "cgroup.subtree_control").read_text() == "+memory"


def test_the_kernel_says_which_groups_are_ours(tmp_path):
    (tmp_path / "cgroup").write_text("8:pids:/unit\n3:cpu,cpuacct:/\n0::/user/one.scope\n")
    (tmp_path / "mountinfo").write_text(
        "30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 23 0:28 /user /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw\n"
        "33 23 0:29 / / rw - ext4 /dev/vda rw\n"
    )
    assert set(hierarchies(tmp_path)) == {
        Hierarchy(1, Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/pids/unit")),
        Hierarchy(2, Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/unified/one.scope")),
    }
    (tmp_path / "mountinfo").write_text("32 23 0:28 /other /c rw - cgroup2 cgroup2 rw\n")
    assert hierarchies(tmp_path) == ()


def test_a_group_that_another_made_is_not_taken_over(tmp_path):
    place = delegated(tmp_path / "unit")
    (place / "x").mkdir()
    assert make("x", Limits(), (Hierarchy(2, tmp_path, place),)) is None
    assert list((place / "x").iterdir()) == [], "and no limit is set on it"


def test_a_process_that_is_not_let_in_says_so_and_goes_on(tmp_path):
    argv = (
        sys.executable,
        "-m",
        "agency.recipes.stages.entering",
        str(tmp_path / "none" / "procs"),
    )
    done = subprocess.run([*argv, "--", "/bin/echo", "hello"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "cannot enter" in done.stderr
