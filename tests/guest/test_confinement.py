"""Promise: whatever an agent's program tries, its unit holds it.

Each command runs in a copy of the machine's own definition of the agent's unit.
"""

import json

import pytest
from claim import CONTAINER_MOUNTS, absent

from agency import naming

SYSTEM = ("/etc", "/var/lib", "/usr/local", "/opt", "/srv", "/run")
SHARED = ("/tmp", "/var/tmp", "/home", "/root")
OPEN = "open-to-all-of-a-test"  # a directory that the file system's own rights would let it write
SETUID = "/var/lib/setuid-of-a-test/id"
COPY_ID = 'install -D -m 4755 "$(readlink -f "$(command -v id)")" %s'

REFUSED = {
    "make a program set-uid": "open('/tmp/s', 'w'); os.chmod('/tmp/s', 0o4755)",
    "make a user namespace": "libc('unshare', 0x10000000)",
    "make a mount namespace": "libc('unshare', 0x20000)",
    "trace process 1": "libc('ptrace', 16, 1, 0, 0)",
    "mount": "libc('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "see raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "speak to the kernel's network": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "make raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "run in real time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "name the machine": "socket.sethostname('taken')",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "tune the kernel": "open('/proc/sys/kernel/domainname', 'w')",
    "read the kernel's log": "open('/dev/kmsg')",
    "write to memory that runs": "mmap.mmap(-1, 4096, prot=7)",
    "become root": "os.setuid(0)",
    "leave its group": "os.setgroups([0])",
    "signal process 1": "os.kill(1, 0)",
}
ALLOWED = {
    "make a program": "open('/tmp/p', 'w'); os.chmod('/tmp/p', 0o755)",
    "call the C library": "libc('getppid')",
    "make a connection's end": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "use memory": "mmap.mmap(-1, 4096, prot=3)",
    "signal itself": "os.kill(os.getpid(), 0)",
    "tell the time": "time.clock_gettime(time.CLOCK_REALTIME)",
}
ATTEMPTS = """
import ctypes, json, mmap, os, socket, sys, time
def libc(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
results = {}
for what, attempt in json.loads(sys.argv[1]).items():
    try:
        exec(attempt)
    except Exception as error:
        results[what] = type(error).__name__
    else:
        results[what] = "did it"
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def attempted(started, inside, python) -> dict[str, str]:
    """What came of each attempt of an agent's program: "did it", or the kind of error."""
    attempts = json.dumps(REFUSED | ALLOWED)
    done = inside(started[0], "%s -I -c %s %s", python, ATTEMPTS, attempts)
    assert done.rc == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def facts_of(status: str) -> dict[str, str]:
    lines = (line.split(":", 1) for line in status.splitlines())
    return {key: " ".join(value.split()) for key, value in lines}


@pytest.mark.claim("calls-refused", "no-root", disturbs=True)
@pytest.mark.parametrize("what", REFUSED)
def test_it_may_not(attempted, what):
    assert attempted[what] in ("OSError", "PermissionError", "FileNotFoundError")


@pytest.mark.claim("calls-allowed", "no-root", disturbs=True, control=True)
@pytest.mark.parametrize("what", ALLOWED)
def test_it_may(attempted, what):
    assert attempted[what] == "did it"


@pytest.fixture(scope="module")
def seen(started, inside) -> list[str]:
    """What an agent's program sees: the status of its process, and /home."""
    return inside(started[0], "cat /proc/self/status; echo ---; ls /home").stdout.split("---\n")


@pytest.mark.claim("program-without-rights", "no-root", disturbs=True)
def test_it_runs_as_its_user_without_any_right(host, running, seen):
    mine, _ = running
    facts = facts_of(seen[0])
    uid = str(host.user(naming.agent_user(mine)).uid)
    assert facts["Uid"].split() == [uid] * 4
    assert facts["Gid"].split() == [str(naming.AGENTS_GID)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, kind
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2", "a filter"


@pytest.mark.claim("rights-noticed", "no-root", disturbs=True, control=True)
def test_rights_would_be_noticed(host):
    facts = facts_of(host.file("/proc/self/status").content_string)
    assert int(facts["CapEff"], 16) != 0
    assert facts["NoNewPrivs"] == "0"


@pytest.mark.claim("agent-held-alike", "no-root", disturbs=True)
def test_the_agent_itself_is_held_alike(host, running):
    """What `inside` shows is what the real agent has."""
    for name in running:
        show = "cat /proc/$(systemctl show --value -p MainPID %s)/status"
        facts = facts_of(host.run(show, naming.agent_unit(name)).stdout)
        assert int(facts["CapBnd"], 16) == 0
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
        assert facts["Uid"].split()[0] == str(host.user(naming.agent_user(name)).uid)


@pytest.mark.claim("setuid-gives-nothing", "no-root", disturbs=True)
def test_setuid_programs_give_it_nothing(host, running, inside, run_as):
    mine, _ = running
    try:
        assert host.run(COPY_ID, SETUID).rc == 0
        assert run_as(naming.agent_user(mine), "%s -u", SETUID).stdout == "0\n", "it works"
        held = inside(mine, "%s -u", SETUID)
        assert held.stdout == f"{host.user(naming.agent_user(mine)).uid}\n"
    finally:
        host.run("rm -r /var/lib/setuid-of-a-test")


@pytest.fixture(scope="module")
def open_places(host, started):
    """Directories of the system in which everybody may write, as far as their mode goes."""
    made = {place: f"{place}/{OPEN}" for place in SYSTEM if host.file(place).is_directory}
    host.run("install -d -m 1777 " + " ".join(made.values()))
    yield made
    host.run("rm -r " + " ".join(made.values()))


@pytest.fixture(scope="module")
def wrote(started, inside, run_as, open_places) -> tuple[list[str], list[str]]:
    """Where an agent's program wrote, and where its user does when no unit holds it.

    A place of its own is among them: what wrote nothing at all may not have been tried.
    """
    user = naming.agent_user(started[0])
    own = f"/home/{user}"
    places = " ".join([own, *open_places.values()])
    touch = f"for place in {places}; do touch $place/of-a-test && echo $place; done"
    remove = f"rm -f {own}/of-a-test"
    held, free = (inside(started[0], touch), run_as(user, f"{touch}; {remove}"))
    assert own in held.stdout.split(), held.stderr
    assert own in free.stdout.split(), free.stderr
    return held.stdout.split(), free.stdout.split()


@pytest.mark.claim(
    "system-read-only",
    "system-unwritten",
    disturbs=True,
    may_skip=(*map(absent, ("/usr/local", "/opt", "/srv")), CONTAINER_MOUNTS),
)
@pytest.mark.parametrize("place", SYSTEM)
def test_the_system_is_read_only_for_it(host, wrote, open_places, place):
    if place not in open_places:
        pytest.skip(absent(place).reason)
    # ProtectSystem=strict does not reach what is mounted there, with the old cgroups.
    if place == "/run" and host.run("systemd-detect-virt --container").rc == 0:
        pytest.skip(CONTAINER_MOUNTS.reason)
    held, free = wrote
    assert open_places[place] in free, "else it could"
    assert open_places[place] not in held


@pytest.mark.claim("own-files", "own-home", disturbs=True, control=True)
def test_it_writes_in_its_home(host, running, inside):
    mine, _ = running
    own = f"/home/{naming.agent_user(mine)}/written-by-a-test"
    try:
        assert inside(mine, "echo hello > %s && cat %s", own, own).stdout == "hello\n"
        assert host.file(own).content_string == "hello\n", "the home is the real one"
    finally:
        host.run("rm -f %s", own)


@pytest.mark.claim("homes-of-others-hidden", "own-home", disturbs=True)
def test_other_homes_are_not_even_there(host, running, seen):
    mine, _ = running
    assert len(host.run("ls /home").stdout.split()) >= 2
    assert seen[1].split() == [naming.agent_user(mine)]


@pytest.fixture(scope="module")
def shared(host, started, inside, run_as) -> dict[str, set[str]]:
    """An agent's program has put a file in each shared place: where each of these finds it."""
    mine, other = started
    files = [f"{place}/of-a-test" for place in SHARED]
    put = "for file in " + " ".join(files) + "; do echo hello > $file; done"
    look = put.replace("echo hello > $file", "grep -qs hello $file && echo ${file%/*}")
    found = {
        "it, a moment later": inside(mine, f"{put}; {look}"),
        "root": host.run(look),
        "another agent's program": inside(other, look),
        "another agent": run_as(naming.agent_user(other), look),
    }
    return {who: {*done.stdout.split()} for who, done in found.items()}


@pytest.mark.claim("shared-places-private", "own-home", disturbs=True)
@pytest.mark.parametrize("place", SHARED)
def test_what_it_puts_in_a_shared_place_nobody_finds(shared, place):
    assert "/tmp" in shared["it, a moment later"], "it has one of its own"
    finders = {who for who, places in shared.items() if place in places}
    assert finders <= {"it, a moment later"}
