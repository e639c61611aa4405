"""What an agent in a container can do and cannot, tried from inside a real one.

Each try has a control: the same try outside the wall, or one inside that is allowed.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_containers import AgentsEngine

from agency.control.acp_client import AcpClient
from agency.control.runtimes.base import StartRequest, State
from agency.control.runtimes.docker.container import container_uid

pytestmark = pytest.mark.docker

PIDS, MEMORY_MIB, TMP_MIB, CPUS = 40, 96, 8, 0.4
PORT = 20001


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inside")


@pytest.fixture(scope="module")
def engine(containers: AgentsEngine) -> Iterator[AgentsEngine]:
    yield containers
    containers.sweep()


@pytest.fixture(scope="module")
def handles(engine: AgentsEngine, place: Path) -> dict[str, str]:
    """Two agents that run; they outlive the runtime that started them."""

    async def start() -> dict[str, str]:
        settings = engine.settings(pids=PIDS, memory_mib=MEMORY_MIB, tmp_mib=TMP_MIB, cpus=CPUS)
        runtime = engine.runtime(place, lambda _: PORT, settings=settings)
        async with AcpClient(timeout_s=20) as acp:
            made = {}
            for name in ("pm", "developer"):
                status = await runtime.start(StartRequest(name, name, "new-app", "trace-1"))
                made[name] = str(status.handle)
                await acp.wait_healthy(
                    runtime.endpoint(name), "trace-1", 30, lambda: asyncio.sleep(0, True)
                )
        await runtime.close()
        return made

    return asyncio.run(start())


def healthy(engine: AgentsEngine, place: Path, name: str) -> bool:
    """Whether a running agent answers."""

    async def ask() -> bool:
        runtime = engine.runtime(place, lambda _: PORT)
        try:
            if (await runtime.status(name)).state is not State.RUNNING:
                return False
            async with AcpClient(timeout_s=20) as acp:
                return (await acp.health(runtime.endpoint(name), "trace-2")).status == "ok"
        finally:
            await runtime.close()

    return asyncio.run(ask())


def write(path: str) -> str:
    return f"open({path!r}, 'w').write('x'); print('done')"


@pytest.mark.parametrize("path", ["/x", "/etc/passwd", "/opt/agency/x", "/run/agency/acp-token"])
def test_its_root_is_read_only(engine, handles, path: str) -> None:
    status, said = engine.inside(handles["pm"], write(path))
    assert status == 1
    assert "Read-only file system" in said
    assert engine.outside(write(path.replace("acp-token", "x"))) == (0, "done")


def test_its_own_places_can_be_written(engine, handles) -> None:
    for path in ("/tmp/x", "/var/lib/agency/x"):
        assert engine.inside(handles["pm"], write(path)) == (0, "done")


def test_its_tmp_is_bounded_and_runs_nothing(engine, handles) -> None:
    code = (
        "import os, sys\n"
        "big = os.open('/tmp/big', os.O_WRONLY | os.O_CREAT)\n"
        "size = 0\n"
        "try:\n"
        "    while size < 2**26: size += os.write(big, bytes(4096))\n"
        "except OSError as error: print(size // 2**20, error.strerror)\n"
        "os.unlink('/tmp/big'); os.close(big)\n"
        "for place in ('/tmp', '/var/lib/agency'):\n"
        "    with open(f'{place}/p', 'wb') as file: file.write(b'#!/opt/agency/bin/python3\\n')\n"
        "    os.chmod(f'{place}/p', 0o755)\n"
        "    try: print(place, os.spawnv(os.P_WAIT, f'{place}/p', ['p']))\n"
        "    finally: os.unlink(f'{place}/p')\n"
    )
    status, said = engine.inside(handles["pm"], code)
    assert status == 0, said
    full, tmp, state = said.splitlines()
    assert full in (f"{mib} No space left on device" for mib in (TMP_MIB - 1, TMP_MIB))
    assert (tmp, state) == ("/tmp 127", "/var/lib/agency 0")


FACTS = (
    "print([l for l in open('/proc/self/status')"
    " if l.split(':')[0] in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs',"
    " 'Seccomp', 'Uid', 'Gid', 'Groups')])"
)


def facts(said: str) -> dict[str, str]:
    lines = json.loads(said.replace("'", '"'))
    return {
        key: value.split()[0] if value.split() else ""
        for key, value in (line.strip().split(":", 1) for line in lines)
    }


def test_it_has_its_user_and_no_right_beyond(engine, handles) -> None:
    status, said = engine.inside(handles["pm"], FACTS)
    assert status == 0, said
    seen = facts(said)
    assert {seen[key] for key in seen if key.startswith("Cap")} == {"0" * 16}
    assert seen["Uid"] == seen["Gid"] == str(container_uid("pm"))
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2")

    control = facts(engine.outside(FACTS, "--security-opt", "seccomp=unconfined")[1])
    assert control["CapEff"] != "0" * 16
    assert (control["Uid"], control["NoNewPrivs"], control["Seccomp"]) == ("0", "0", "0")


NEW_NAMESPACE = (
    "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True);"
    "print(os.strerror(ctypes.get_errno()) if libc.unshare(0x10000000) else 'done')"
)


def test_its_system_calls_are_filtered(engine, handles) -> None:
    assert engine.inside(handles["pm"], NEW_NAMESPACE) == (0, "Operation not permitted")
    free = ("--security-opt", "seccomp=unconfined", "--user=4000:4000", "--cap-drop=ALL")
    assert engine.outside(NEW_NAMESPACE, *free) == (0, "done")


NETWORK = (
    "import os, socket, sys\n"
    "print(sorted(os.listdir('/sys/class/net')))\n"
    "for host, port in {targets!r}:\n"
    "    try: socket.create_connection((host, port), 3); print('reached')\n"
    "    except OSError as error: print(error.strerror)\n"
)


@contextlib.contextmanager
def host_service(engine: AgentsEngine, host: str, port: int) -> Iterator[None]:
    """A service of the machine on which the engine runs, as the engine sees that machine."""
    code = (
        f"import socket, time; s = socket.create_server(({host!r}, {port}));"
        "print('ready', flush=True); time.sleep(600)"
    )
    argv = ["nsenter", "--target", str(engine.engine.pid), "--net", sys.executable, "-c", code]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_it_reaches_no_network(engine, handles) -> None:
    """An internal bridge would not do: what the machine serves on all addresses answers there."""
    engine.cli("network", "create", "--internal", "--subnet=10.213.0.0/24", "control")
    try:
        with host_service(engine, "0.0.0.0", 7777), host_service(engine, "127.0.0.1", 7778):
            targets = [("10.213.0.1", 7777), ("127.0.0.1", 7778), ("127.0.0.1", PORT)]
            code = NETWORK.format(targets=targets)
            assert engine.inside(handles["pm"], code) == (
                0,
                "['lo']\nNetwork is unreachable\nConnection refused\nConnection refused",
            )
            status, said = engine.outside(code, "--network=control")
            assert status == 0, said
            assert said.splitlines()[1:3] == ["reached", "Connection refused"]
    finally:
        engine.cli("network", "rm", "control")


def test_it_sees_no_socket_but_its_own_and_no_other_agent(engine, handles) -> None:
    code = (
        "import os, stat\n"
        "for top in ('/run', '/var', '/tmp', '/dev/shm'):\n"
        "    for place, _, files in os.walk(top):\n"
        "        for file in files:\n"
        "            path = os.path.join(place, file)\n"
        "            if stat.S_ISSOCK(os.lstat(path).st_mode): print(path)\n"
        "print(sorted(os.listdir('/run/agency')))\n"
        "print([p for p in os.listdir('/proc') if p.isdigit() and b'developer' in"
        " open(f'/proc/{p}/environ', 'rb').read() + open(f'/proc/{p}/cmdline', 'rb').read()])\n"
    )
    status, said = engine.inside(handles["pm"], code)
    assert status == 0, said
    assert said.splitlines()[:2] == [
        "/run/agency/acp.sock",
        "['acp-token', 'acp.sock', 'agent.json']",
    ]
    tokens = {
        name: engine.inside(handle, "print(open('/run/agency/acp-token').read())")
        for name, handle in handles.items()
    }
    assert len(set(tokens.values())) == 2
    uids = {engine.inside(handle, "import os; print(os.getuid())") for handle in handles.values()}
    assert len(uids) == 2


def test_its_token_is_in_nothing_that_the_engine_tells(engine, handles, place: Path) -> None:
    token = (place / "containers" / "pm" / "acp-token").read_text()
    told = engine.cli("inspect", handles["pm"])
    assert token not in told
    assert "agency.agent" in told
    code = "import os; print(os.environ, open('/proc/1/cmdline').read())"
    status, said = engine.inside(handles["pm"], code)
    assert status == 0
    assert token not in said
    assert "CREDENTIALS_DIRECTORY" in said
    assert (place / "containers").stat().st_mode & 0o777 == 0o700


def test_its_state_is_its_own_and_stays(engine, handles) -> None:
    mark = "open('/var/lib/agency/mark', 'w').write('kept')"
    assert engine.inside(handles["pm"], mark) == (0, "")
    look = "import os; print(sorted(os.listdir('/var/lib/agency')))"
    assert "mark" in engine.inside(handles["pm"], look)[1]
    assert "mark" not in engine.inside(handles["developer"], look)[1]


def test_its_processes_are_bounded(engine, handles, place: Path) -> None:
    code = (
        "import os, time\n"
        "made = []\n"
        "try:\n"
        "    while len(made) < 200:\n"
        "        pid = os.fork()\n"
        "        if not pid: time.sleep(600)\n"
        "        made.append(pid)\n"
        "except OSError as error: print(len(made), error.strerror)\n"
        "else: print(len(made), 'done')\n"
        "finally: [os.kill(pid, 9) for pid in made]\n"
    )
    status, said = engine.inside(handles["pm"], code)
    assert status == 0, said
    count, reason = said.split(" ", 1)
    assert 0 < int(count) < PIDS
    assert reason == "Resource temporarily unavailable"
    assert engine.outside(code) == (0, "200 done")
    assert healthy(engine, place, "pm")
    assert healthy(engine, place, "developer")


HOG = "data = bytearray(1024 * 1024 * {mib}); print(len(data))"


def test_its_memory_is_bounded_and_others_live(engine, handles, place: Path) -> None:
    assert engine.inside(handles["pm"], HOG.format(mib=8))[0] == 0
    status, _ = engine.inside(handles["pm"], HOG.format(mib=2 * MEMORY_MIB))
    assert status == 137
    assert engine.outside(HOG.format(mib=2 * MEMORY_MIB))[0] == 0
    assert healthy(engine, place, "developer")


QUOTA = (
    "import os\n"
    "def read(path): return open('/sys/fs/cgroup/' + path).read().split()\n"
    "if os.path.exists('/sys/fs/cgroup/cpu.max'): quota, period = read('cpu.max')\n"
    "else: quota, period = (*read('cpu/cpu.cfs_quota_us'), *read('cpu/cpu.cfs_period_us'))\n"
    "print('none' if quota in ('max', '-1') else int(quota) / int(period))\n"
)


def test_its_share_of_the_processors_is_bounded(engine, handles) -> None:
    """As the kernel says it: what a busy machine leaves to a program proves nothing."""
    assert engine.inside(handles["pm"], QUOTA) == (0, str(CPUS))
    assert engine.outside(QUOTA) == (0, "none")


# Six that compute without end, for 2 s and until the kernel has held them back, or for 10 s: the
# share of a processor that the container used meanwhile, and how often it was held back.
BUSY = """
import json, os, time
def stat(name):
    for place in ("", "cpu/", "cpuacct/"):
        if os.path.exists("/sys/fs/cgroup/" + place + name):
            return open("/sys/fs/cgroup/" + place + name).read()
def facts(): return dict(line.split() for line in stat("cpu.stat").splitlines())
def held(): return int(facts()["nr_throttled"])
def used(): return int(facts().get("usage_usec", 0)) / 1e6 or int(stat("cpuacct.usage")) / 1e9
made = []
before, since, begun = held(), used(), time.monotonic()
def took(): return time.monotonic() - begun
for _ in range(6):
    pid = os.fork()
    while not pid: pass
    made.append(pid)
while took() < 2 or (held() == before and took() < SECONDS): time.sleep(0.05)
told = {"share": (used() - since) / took(), "held": held() - before}
for pid in made: os.kill(pid, 9)
print(json.dumps(told))
"""


def test_its_processor_time_is_held_to_its_share(engine, handles) -> None:
    """As measured: by what it used, and by how often the kernel held it back."""
    status, said = engine.inside(handles["pm"], BUSY.replace("SECONDS", "10"))
    assert status == 0, said
    measured = json.loads(said)
    assert measured["share"] < CPUS * 1.25, measured
    status, said = engine.outside(BUSY.replace("SECONDS", "2"))
    assert status == 0, said
    assert json.loads(said)["held"] == 0, "who has no quota is never held back"
    if measured["held"] == 0 and measured["share"] < CPUS:
        pytest.skip(f"the machine is busy: it left the container {measured['share']:.2f}")
    assert measured["held"] > 0, measured


def test_its_log_is_bounded(engine, handles, place: Path) -> None:
    code = (
        "import os\n"
        "pid = next(p for p in os.listdir('/proc') if p.isdigit() and p != '1' and"
        " b'--dial' in open(f'/proc/{p}/cmdline', 'rb').read())\n"
        "with open(f'/proc/{pid}/fd/2', 'w') as log:\n"
        "    for number in range(40000): print(number, 'x' * 90, file=log)\n"
    )
    status, said = engine.inside(handles["developer"], code)
    assert status == 0, said
    log = Path(engine.engine.inspect("container", handles["developer"])["LogPath"])

    async def tail() -> tuple[str, ...]:
        runtime = engine.runtime(place, lambda _: PORT)
        try:
            return await runtime.log_tail("developer", 100)
        finally:
            await runtime.close()

    deadline = time.monotonic() + 20
    seen: tuple[str, ...] = ()
    while not any(line.startswith("39999 ") for line in seen):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        seen = asyncio.run(tail())
    assert len(seen) == 100
    kept = sum(file.stat().st_size for file in log.parent.glob("*-json.log*"))
    assert 1_000_000 < kept < 2_100_000
