"""Promise: an agent uses no more than its slice allows, and others do not notice when it tries."""

import re

import pytest
from claim import LITTLE_MEMORY, NO_CPU_CONTROLLER

from agency import naming

UNIT = "test-agency-hog.service"
SPARE = 64 << 20
# Of pages as small as can be: for huge ones the kernel looks long for room before it gives up.
HOG = """
import mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for start in range(0, size, 1 << 12):
    memory[start] = 1
print("used it all")
"""
THREADS = """
import sys, threading
started, end = 0, threading.Event()
try:
    while started < int(sys.argv[1]):
        threading.Thread(target=end.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
print("started", started)
end.set()
"""

HANDED = "grep -sqw cpu /sys/fs/cgroup/cgroup.controllers || mountpoint -q /sys/fs/cgroup/cpu"
# The least share of a processor's time that any of its cgroups leaves a program.
SHARE = """
import pathlib
lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
groups = dict(line.split(":", 2)[1:] for line in lines)
old = [group for names, group in groups.items() if "cpu" in names.split(",")]
place = pathlib.Path("/sys/fs/cgroup" + ("/cpu" + old[0] if old else groups[""]))
shares = []
for at in (place, *place.parents):
    if (at / "cpu.max").exists():
        quota, period = (at / "cpu.max").read_text().split()
    elif (at / "cpu.cfs_quota_us").exists():
        files = (at / "cpu.cfs_quota_us", at / "cpu.cfs_period_us")
        quota, period = (file.read_text().strip() for file in files)
    else:
        continue
    if quota not in ("max", "-1"):
        shares.append(int(quota) / int(period))
print(min(shares, default=float("inf")))
"""


def slice_of(name: str) -> str:
    return f"agency-agents-{name.replace('-', '_')}.slice"


def prop(host, unit: str, name: str) -> str:
    return host.run("systemctl show --value -p %s %s", name, unit).stdout.strip()


def props(host, units: list[str], *names: str) -> dict[str, dict[str, str]]:
    """Properties of each unit, asked for at once."""
    options = " ".join(f"-p {name}" for name in names)
    shown = host.run(f"systemctl show {options} {' '.join(units)}").stdout.strip()
    found = [dict(line.split("=", 1) for line in one.splitlines()) for one in shown.split("\n\n")]
    return dict(zip(units, found, strict=True))


def pids(host, units: list[str]) -> dict[str, str]:
    found = {unit: one["MainPID"] for unit, one in props(host, units, "MainPID").items()}
    assert "0" not in found.values(), found
    return found


@pytest.fixture
def run_in_slice(host, python):
    """Runs a program as an agent, in its slice and without limits of its own."""

    def run(name: str, program: str, *args: str):
        user = naming.agent_user(name)
        try:
            return host.run(
                "systemd-run --quiet --wait --pipe --unit=%s --uid=%s --slice=%s %s -I -c %s "
                + " ".join("%s" for _ in args),
                *(UNIT, user, slice_of(name), python, program, *args),
            )
        finally:
            host.run("systemctl reset-failed %s", UNIT)

    return run


@pytest.fixture(scope="module")
def limit(host, pair) -> int:
    return int(prop(host, slice_of(pair[0]), "MemoryMax"))


@pytest.mark.claim("limits-declared", "limits", disturbs=False)
def test_every_agent_has_limits(host, agents):
    limits = ("MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
    slices = props(host, [*map(slice_of, agents), "user.slice"], *limits, "MemorySwapMax")
    units = props(host, [*map(naming.agent_unit, agents)], "Slice")
    for name in agents:
        found = slices[slice_of(name)]
        for limit in limits:
            assert found[limit] not in ("infinity", ""), (name, limit)
        assert found["MemorySwapMax"] == "0"
        assert units[naming.agent_unit(name)] == {"Slice": slice_of(name)}
    assert slices["user.slice"]["MemoryMax"] == "infinity", "the test can tell"


@pytest.mark.claim("own-slice", "limits", disturbs=False)
def test_each_agent_has_a_slice_of_its_own(host, agents):
    shown = props(host, [*map(naming.agent_unit, agents)], "Slice")
    slices = {found["Slice"] for found in shown.values()}
    assert len(slices) == len(agents)
    others = props(host, ["agency-control.service", "matrix-synapse.service"], "Slice")
    assert not slices & {found["Slice"] for found in others.values()}


@pytest.mark.claim("processor-share", "limits", disturbs=True, may_skip=(NO_CPU_CONTROLLER,))
def test_its_share_of_the_processors_is_bounded(host, pair, python, run_in_slice):
    """By the kernel, as a program in the slice finds it; what is declared need not be enforced."""
    if host.run(HANDED).rc != 0:
        pytest.skip(NO_CPU_CONTROLLER.reason)
    declared = prop(host, slice_of(pair[0]), "CPUQuotaPerSecUSec")
    found = float(run_in_slice(pair[0], SHARE).stdout)
    units = {"min": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
    spans = re.findall(r"([0-9.]+)([a-z]+)", declared)
    assert found == pytest.approx(sum(float(number) * units[unit] for number, unit in spans))
    outside = host.run("systemd-run --quiet --wait --pipe %s -I -c %s", python, SHARE)
    assert float(outside.stdout) > found, "it is the slice that bounds it"


@pytest.mark.claim("memory-bounded", "limits", disturbs=True)
def test_a_memory_hog_dies_in_its_slice_and_others_live(host, running, run_in_slice, limit):
    mine, other = running
    units = [
        *(naming.agent_unit(other), "agency-control.service"),
        *("matrix-synapse.service", "postgresql.service"),
    ]
    before = pids(host, units)
    done = run_in_slice(mine, HOG, str(limit + SPARE))
    assert done.rc != 0
    assert "used it all" not in done.stdout
    killed = host.run("journalctl -q -b --no-pager -o cat -n 20 -u %s", UNIT).stdout
    assert re.search(r"oom|killed|KILL", killed), killed
    assert pids(host, units) == before


@pytest.mark.claim(
    "memory-outside-slice", "limits", disturbs=True, control=True, may_skip=(LITTLE_MEMORY,)
)
def test_the_same_program_runs_outside_the_slice(host, python, limit):
    """It is the slice that stops it, not the machine."""
    free = host.run("awk '/MemAvailable/ {print $2 * 1024}' /proc/meminfo").stdout
    if float(free) < limit + 2 * SPARE:
        pytest.skip(LITTLE_MEMORY.reason)
    text = "systemd-run --quiet --wait --pipe %s -I -c %s %s"
    done = host.run(text, python, HOG, str(limit + SPARE))
    assert done.stdout == "used it all\n", done.stderr


@pytest.mark.claim("memory-that-fits", "limits", disturbs=True, control=True)
def test_what_fits_in_the_slice_runs(pair, run_in_slice):
    assert run_in_slice(pair[0], HOG, str(SPARE)).stdout == "used it all\n"


@pytest.mark.claim("processes-bounded", "limits", disturbs=True)
def test_processes_are_bounded(host, pair, run_in_slice):
    most = int(prop(host, slice_of(pair[0]), "TasksMax"))
    assert 0 < most <= 4096
    started = run_in_slice(pair[0], THREADS, str(most + 50)).stdout.split()
    assert started[0] == "started"
    assert 0 < int(started[1]) < most


@pytest.mark.claim("processes-outside-slice", "limits", disturbs=True, control=True)
def test_as_many_run_outside_the_slice(host, pair, python):
    wanted = str(int(prop(host, slice_of(pair[0]), "TasksMax")) + 50)
    text = "systemd-run --quiet --wait --pipe -p TasksMax=infinity %s -I -c %s %s"
    assert host.run(text, python, THREADS, wanted).stdout == f"started {wanted}\n"
