"""What an agent may use, whatever it does."""

import pytest

from agency import naming

HOG = "x = bytearray(1500 * 1024 * 1024); print('allocated it all')"

pytestmark = pytest.mark.disturbs


def slice_of(name: str) -> str:
    return f"agency-agents-{name.replace('-', '_')}.slice"


def start(host, unit: str, name: str, program: str):
    user = naming.agent_user(name)
    return host.run(
        "systemd-run --unit=%s --uid=%s --slice=%s -p MemoryMax=infinity python3 -c %s",
        *(unit, user, slice_of(name), program),
    )


def prop(host, unit: str, name: str) -> str:
    return host.run("systemctl show --value -p %s %s", name, unit).stdout.strip()


@pytest.fixture
def neighbour(host, pair):
    """Another agent's work, which must not notice."""
    unit = "agency-test-neighbour.service"
    assert start(host, unit, pair[1], "import time; time.sleep(120)").rc == 0
    yield unit
    host.run("systemctl stop %s", unit)


def test_a_memory_hog_dies_in_its_slice_and_others_live(host, pair, until, neighbour):
    unit = "agency-test-hog.service"
    pid = prop(host, neighbour, "MainPID")
    try:
        assert start(host, unit, pair[0], HOG).rc == 0
        until(lambda: prop(host, unit, "ActiveState") == "failed")
        assert prop(host, unit, "Result") in ("oom-kill", "signal")
        assert prop(host, neighbour, "MainPID") == pid
        assert host.service("agency-control").is_running
    finally:
        host.run("systemctl stop %s; systemctl reset-failed %s", unit, unit)


def test_the_same_program_runs_outside_the_slice(host, until):
    """The positive control: it is the slice that stops it, not the machine."""
    done = host.run("systemd-run --quiet --wait --pipe python3 -c %s", HOG)
    assert done.rc == 0
    assert "allocated it all" in done.stdout


def test_processes_are_bounded(host, pair):
    most = int(prop(host, slice_of(pair[0]), "TasksMax"))
    assert 0 < most <= 4096
