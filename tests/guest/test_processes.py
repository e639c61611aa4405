"""Promise: an agent reaches no process but its own: no signal, no memory, no environment.

Programs of an agent's units do not even see the others; see also test_confinement.
"""

import pytest

from agency import naming

INTERFACES = ("environ", "maps", "mem", "cwd/", "root/", "fd/")


def main_pid(host, unit: str) -> str:
    pid = host.run("systemctl show --value -p MainPID %s", unit).stdout.strip()
    assert pid != "0", f"{unit} does not run"
    return pid


def openable(run, pid: str) -> list[str]:
    """Which of a process' files can be opened."""
    text = (
        "for file in {}; do case $file in */) ls /proc/{}/$file;; *) : < /proc/{}/$file;; esac "
        ">/dev/null 2>&1 && echo $file; done"
    )
    return run(text.format(" ".join(INTERFACES), pid, pid)).stdout.split()


@pytest.mark.claim("signal-to-another", "own-processes", disturbs=True)
def test_another_agents_processes_cannot_be_signalled(host, running, run_as):
    mine, other = running
    pid = main_pid(host, naming.agent_unit(other))
    for signal in ("0", "TERM", "KILL", "STOP"):
        assert run_as(naming.agent_user(mine), "kill -s %s %s", signal, pid).rc != 0
    assert run_as(naming.agent_user(other), "kill -s 0 %s", pid).rc == 0, "its own user may"
    assert main_pid(host, naming.agent_unit(other)) == pid


@pytest.mark.claim("signal-to-service", "own-processes", disturbs=True)
def test_services_cannot_be_signalled(host, pair, run_as):
    for unit in ("agency-control.service", "matrix-synapse.service", "postgresql.service"):
        pid = main_pid(host, unit)
        assert run_as(naming.agent_user(pair[0]), "kill -s 0 %s", pid).rc != 0
        assert host.run("kill -s 0 %s", pid).rc == 0


@pytest.mark.claim("memory-of-another", "own-processes", disturbs=True)
def test_another_agents_memory_and_environment_cannot_be_read(host, running, run_as):
    mine, other = running
    pid = main_pid(host, naming.agent_unit(other))
    assert openable(lambda text: run_as(naming.agent_user(mine), text), pid) == []
    assert openable(host.run, pid) == list(INTERFACES), "root can"


@pytest.mark.claim("own-process", "own-processes", disturbs=True, control=True)
def test_its_own_process_can_be_read(pair, run_as):
    text = "for file in environ maps; do : < /proc/self/$file && echo $file; done"
    assert run_as(naming.agent_user(pair[0]), text).stdout.split() == ["environ", "maps"]


@pytest.mark.claim("processes-hidden", "own-processes", disturbs=True)
def test_an_agents_program_does_not_see_others(host, running, inside):
    mine, other = running
    pids = [main_pid(host, unit) for unit in (naming.agent_unit(other), "agency-control.service")]
    seen = inside(mine, "cd /proc && for pid in [0-9]*; do stat -c '%n %u' $pid; done")
    found = dict(line.split() for line in seen.stdout.splitlines())
    uid = str(host.user(naming.agent_user(mine)).uid)
    assert found, seen.stderr
    assert set(found.values()) == {uid}
    assert not found.keys() & set(pids)


@pytest.mark.claim("own-process", "own-processes", disturbs=True, control=True)
def test_an_agents_program_sees_its_own(host, running, inside):
    mine, _ = running
    pid = main_pid(host, naming.agent_unit(mine))
    assert inside(mine, "test -d /proc/%s", pid).rc == 0


IPC = "readlink /proc/self/ns/ipc"


@pytest.mark.claim("own-ipc", "own-processes", disturbs=True)
def test_agents_share_no_memory_by_name(host, running):
    """Shared memory and message queues of System V and POSIX are in a namespace of each unit."""
    pids = [main_pid(host, naming.agent_unit(name)) for name in running]
    spaces = [host.run("readlink /proc/%s/ns/ipc", pid).stdout for pid in (*pids, "self")]
    assert all(spaces)
    assert len({*spaces}) == len(spaces)


@pytest.mark.claim("ipc-outside-unit", "own-processes", disturbs=True, control=True)
def test_outside_of_its_unit_it_would_share_them(host, pair, run_as):
    assert run_as(naming.agent_user(pair[0]), IPC).stdout == host.run(IPC).stdout
