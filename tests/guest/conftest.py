"""The suite that looks at a running agency from inside, whatever made it.

    pytest tests/guest --guest-host incus:NAME     a guest of the local Incus
    pytest tests/guest --guest-host ssh:USER@HOST  a host over SSH
    pytest tests/guest --guest-host local          the machine that pytest runs on, as root

Without --guest-host nothing here is collected: there is no machine to look at. Tests leave the
machine as they found it; those that disturb it on purpose (`disturbs` in their claim) are left out
with --read-only, as on a host that people use.

Each test carries the claim that it shows (claim.py); the report names it as a property of the test.

What is killed takes seconds to come back. It is killed first, and what needs none of it is looked
at meanwhile.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs

import pytest
import testinfra.backend
import testinfra.backend.base
import testinfra.host
from channel import Channel
from claim import claim_of
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from agency import naming

INSIDE = "/run/test-agency-inside"
SWITCH_USER = 'setpriv --reuid=%s --regid="$(id -g %s)" --init-groups'

# Sets bin to the directory of the program `agency`.
FIND_BIN = r"""
bin=$(systemctl show --value -p ExecStart agency-control.service |
    sed -n 's/.*path=\([^ ;]*\)\/agency .*/\1/p')
"""

# Prints the machine's Python. A NixOS machine may have none but that of the agency.
FIND_PYTHON = rf"""
for python in /opt/agency/bin/python python3; do command -v "$python" && exit; done
{FIND_BIN}
sed -n '1s/^#! *\([^ ]*\).*/\1/p' "$bin/.agency-wrapped"
"""


# Prints the program `agency` as Python text, whatever wraps it.
FIND_AGENCY = rf"""
{FIND_BIN}
for file in "$bin/.agency-wrapped" "$bin/agency"; do test -e "$file" && echo "$file" && exit; done
"""

# Calls `agency` once after the other, each call in a process of its own as a user of its own.
# Asking each command for help first loads what it needs once for all.
CALLS = """
import json, os, pwd, runpy, sys, tempfile
main = runpy.run_path(sys.argv[1], run_name="called by a test")["main"]
calls = json.loads(sys.argv[2])
os.chdir("/")
def become(user):
    entry = pwd.getpwnam(user)
    os.setgid(entry.pw_gid)
    os.initgroups(user, entry.pw_gid)
    os.setuid(entry.pw_uid)
def run(arguments):
    sys.argv = ["agency", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
def call(user, arguments, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    become(user)
    return run(arguments)
result = os.dup(1)
with open(os.devnull, "w") as nowhere:
    os.dup2(nowhere.fileno(), 1)
    for words in {tuple(arguments[:depth]) for _, depth, arguments in calls}:
        run([*words, "--help"])
said = []
for user, _, arguments in calls:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                status = call(user, arguments, out, err)
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
        said.append((status, *texts))
with open(result, "w") as sink:
    json.dump(said, sink)
"""

# Files that need no service: looked at while those come back. The agents are there sooner, so what
# waits for them is the last.
MEANWHILE = ("test_agents_users.py", "test_egress.py", "test_units.py", "test_confinement.py")

FOUND_PYTHON = f'exec "$({FIND_PYTHON})" "$@"'


class ChannelBackend(testinfra.backend.base.BaseBackend):
    """Runs testinfra's commands through one program that stays open.

    With `incus exec` the machine needs no network. Over ssh it is quicker than testinfra's own way,
    and a command that a signal ends is not taken for a connection that broke.
    """

    NAME = "channel"

    def __init__(self, name: str, channel: Channel) -> None:
        super().__init__(name)
        self.channel = channel

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        # testinfra speaks shell; it is the guest's shell that hears it.
        text = self.get_command(command, *args)
        ran = self.channel.run(text)
        return self.result(ran.status, self.encode(text), ran.stdout, ran.stderr)


def _channel(kind: str, name: str) -> Channel:
    """The way to incus:NAME, or to ssh:DESTINATION with an optional ?ssh_config=FILE."""
    if kind == "incus":
        return Channel(("incus", "exec", "-T", name, "--", "sh", "-c", FOUND_PYTHON))
    destination, _, query = name.partition("?")
    config = parse_qs(query).get("ssh_config")
    options = ("-F", config[0]) if config else ()
    ssh = ("ssh", *options, "-T", "--", destination)
    return Channel((*ssh, "sh", "-c", shlex.quote(FOUND_PYTHON)), one_line=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("guest")
    group.addoption("--guest-host", help="incus:NAME, ssh:USER@HOST or local")
    group.addoption("--read-only", action="store_true", help="Leave out what disturbs the host.")
    group.addoption("--agent-uid", action="append", default=[], help="NAME=UID of the instance.")


def _wanted(config: pytest.Config) -> str | None:
    wanted: str | None = config.getoption("--guest-host", default=None)
    return wanted or os.environ.get("AGENCY_GUEST_HOST")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if _wanted(config) is None else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(id, promise, *, disturbs): what the test shows")
    config.addinivalue_line("markers", "kills: kills what others look at later, and is the first")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    claims = {item: claim_of(item) for item in items}
    for item, claim in claims.items():
        item.user_properties.append(("claim", claim.id))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            item.user_properties.append(("case", item.callspec.id))
    if config.getoption("--read-only", default=False):
        left_out = [item for item in items if claims[item].disturbs]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """When a test runs: killing, what runs meanwhile, what shows that all came back, the rest."""
    if item.get_closest_marker("kills") is not None:
        return 0
    order = (*MEANWHILE, "test_recovery.py")
    return 1 + (order.index(item.path.name) if item.path.name in order else len(order))


@pytest.fixture(scope="session")
def host(reached: Host) -> Host:
    """The machine under test, as root, when it has booted, however that ended."""
    reached.run("timeout 100 systemctl is-system-running --wait")
    return reached


@pytest.fixture(scope="session")
def reached(request: pytest.FixtureRequest) -> Iterator[Host]:
    """The machine under test, as root."""
    kind, _, name = str(_wanted(request.config)).partition(":")
    if kind == "local":
        yield testinfra.host.get_host("local://", sudo=False)
        return
    if kind not in ("incus", "ssh"):
        raise pytest.UsageError(f"--guest-host: {kind!r} is not incus, ssh or local")
    with _channel(kind, name) as channel:
        yield Host(ChannelBackend(name, channel))


@pytest.fixture(scope="session")
def is_guest(request: pytest.FixtureRequest) -> bool:
    """Whether the machine was made for this, from our own image, and has no network."""
    return str(_wanted(request.config)).startswith("incus:")


@pytest.fixture(scope="session")
def control(host: Host) -> dict[str, Any]:
    """The control plane's configuration on that machine."""
    found: dict[str, Any] = json.loads(host.file("/etc/agency/control.json").content_string)
    return found


@pytest.fixture(scope="session")
def agents(control: dict[str, Any]) -> dict[str, int]:
    """The agents by name, with the port of each."""
    found = {agent["name"]: agent["port"] for agent in control["agents"]}
    assert len(found) >= 2, "isolation can only be shown between two agents"
    return found


@pytest.fixture(scope="session")
def own_uids(request: pytest.FixtureRequest) -> dict[str, int]:
    """The uids that the instance gives its agents by name; others come from the name."""
    pairs = (one.split("=", 1) for one in request.config.getoption("--agent-uid"))
    return {name: int(uid) for name, uid in pairs}


@pytest.fixture(scope="session")
def pair(agents: dict[str, int]) -> tuple[str, str]:
    """Two agents."""
    first, second, *_ = sorted(agents)
    return first, second


@pytest.fixture(scope="session")
def python(host: Host) -> str:
    """The machine's Python, which everybody there may run."""
    found: str = host.run(FIND_PYTHON).stdout.strip()
    assert found, "the machine has no Python"
    return found


RunAs = Callable[..., CommandResult]


@pytest.fixture(scope="session")
def run_as(host: Host) -> RunAs:
    """Runs a command as a user, with that user's groups and nothing of root's but by `options`.

    Nothing else holds the program: what it cannot do, no program of that user can.
    """

    def run_as(user: str, command: str, *args: str, options: str = "") -> CommandResult:
        text = host.backend.get_command(command, *args)
        return host.run(f"cd / && exec {SWITCH_USER} {options} sh -c %s", user, user, text)

    return run_as


@pytest.fixture(scope="session")
def agency_script(host: Host) -> str:
    """The program `agency` of the machine's services, as a file of Python."""
    found: str = host.run(FIND_AGENCY).stdout.strip()
    assert found, "the services run no program of the agency"
    return found


AgencyCalls = Callable[..., list[CommandResult]]


@pytest.fixture(scope="session")
def agency_calls(host: Host, agency_script: str) -> AgencyCalls:
    """Calls of `agency`, (user, *arguments) each, one after the other; how each ended.

    They start from one process that has loaded the program, which takes longer than most calls.
    `command` is how many of the arguments name the command.
    """
    python = host.run(r"sed -n '1s/^#! *\([^ ]*\).*/\1/p' %s", agency_script).stdout.strip()

    def agency_calls(*calls: Sequence[str], command: int) -> list[CommandResult]:
        wanted = json.dumps([(user, command, arguments) for user, *arguments in calls])
        done = host.run("%s -I -c %s %s %s", python, CALLS, agency_script, wanted)
        assert done.rc == 0, done.stderr
        return [
            CommandResult(host.backend, status, " ".join(call[1:]), out, err)
            for call, (status, out, err) in zip(calls, json.loads(done.stdout), strict=True)
        ]

    return agency_calls


RunEach = Callable[..., list[str]]


@pytest.fixture(scope="session")
def run_each(host: Host) -> RunEach:
    """Runs a command as several users at once; returns what each said."""

    def run_each(users: Sequence[str], command: str, *args: str) -> list[str]:
        text = host.backend.get_command(command, *args)
        files = [f'"$place/{number}"' for number in range(len(users))]
        runs = [
            host.backend.get_command(f"{SWITCH_USER} sh -c %s", user, user, text) + f" > {file} &"
            for user, file in zip(users, files, strict=True)
        ]
        say = [f"cat {file}; printf '\\0'" for file in files]
        steps = ["place=$(mktemp -d); cd /", *runs, "wait", *say, 'rm -r "$place"']
        return list(host.run("\n".join(steps)).stdout.split("\0")[:-1])

    return run_each


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition until it holds, at most 60 seconds."""

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.1)

    return until


# Gives a command to the control plane, past the control room.
COMMAND = rf"""
{FIND_BIN}
"$bin/agency" command agents %s %s
"""


Tell = Callable[[str, str], None]
NOBODY_THERE = 3  # exit status: no control plane runs


@pytest.fixture(scope="session")
def tell(host: Host, until) -> Tell:
    """Has the control plane start or stop an agent; waits for one that starts again."""

    def tell(verb: str, name: str) -> None:
        said: list[CommandResult] = []

        def is_answered() -> bool:
            said.append(host.run(COMMAND, verb, name))
            return said[-1].rc != NOBODY_THERE

        until(is_answered)
        assert said[-1].rc == 0, said[-1].stdout + said[-1].stderr

    return tell


@pytest.fixture(scope="session")
def started(host: Host, pair, tell) -> Iterator[tuple[str, str]]:
    """Two agents, started by the control plane where they do not run yet.

    It stops at its start what nobody asked for, and tests restart it.
    """
    stopped = [name for name in pair if not host.service(naming.agent_unit(name)).is_running]
    for name in stopped:
        tell("start", name)
    yield pair
    for name in stopped:
        tell("stop", name)


@pytest.fixture
def running(host: Host, started, agents, until) -> tuple[str, str]:
    """Two agents that listen, whatever the test before did to them."""
    listening = " or ".join(f"sport = :{agents[name]}" for name in started)

    def all_listen() -> bool:
        return len(host.run("ss -Hltn %s", listening).stdout.splitlines()) == len(started)

    until(all_listen)
    return (started[0], started[1])


@pytest.fixture(scope="session")
def inside(host: Host, started) -> Iterator[RunAs]:
    """Runs a command as an agent's program, within the whole of its unit.

    The unit is the machine's own definition, word for word; another program is in it.
    """
    host.run("install -d -m 0755 %s", INSIDE)
    # A service's own PATH may be empty, as on NixOS; programs of the system change no right.
    path = host.run("echo $PATH").stdout.strip()
    units = {name: f"test-agency-inside@{name}.service" for name in started}
    for name, unit in units.items():
        own = f"""
[Service]
Type=oneshot
Restart=no
TimeoutStartSec=60
Environment="PATH={path}"
ExecStart=
ExecStart=/bin/sh {INSIDE}/{name}.sh
StandardOutput=truncate:{INSIDE}/{name}.out
StandardError=truncate:{INSIDE}/{name}.err
"""
        text = "{ systemctl cat %s && printf %%s %s; } > /run/systemd/system/%s"
        assert host.run(text, naming.agent_unit(name), own, unit).rc == 0
    host.run("systemctl daemon-reload")

    def inside(name: str, command: str, *args: str) -> CommandResult:
        text = host.backend.get_command(command, *args)
        files = f"{INSIDE}/{name}"
        done = host.run(
            f"printf '%%s\\n' %s > {files}.sh; systemctl start %s 2>/dev/null; "
            f"systemctl show --value -p ExecMainStatus %s; printf '\\0'; cat {files}.out; "
            f"printf '\\0'; cat {files}.err; systemctl reset-failed %s",
            *(text, units[name], units[name], units[name]),
        )
        status, out, err = done.stdout.split("\0")
        return CommandResult(host.backend, int(status), text.encode(), out, err)

    yield inside
    files = " ".join(f"/run/systemd/system/{unit}" for unit in units.values())
    host.run(f"rm -rf {files} {INSIDE}; systemctl daemon-reload")
