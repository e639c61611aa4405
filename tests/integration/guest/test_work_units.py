"""An agent's workspace and tasks by their exported units, under a real systemd.

The reconciler makes the workspace at boot; a timer takes a due schedule into the list, and another
works through the list. The tasks are done by a program of the test; the builtin program does one in
test_loop_of_program.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import pytest_asyncio
import yaml
from authority import Authority

from agency import naming
from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.install import install
from agency.guests.machines.machine import Guest, GuestFile

Unpack = Callable[..., Awaitable[None]]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.thorough]

MACHINE = Path(__file__).resolve().parents[3] / "modules" / "portable" / "machine"
UNITS = PurePosixPath("/etc/systemd/system")
AGENTS = {"developer": 4101, "pm": 4102}
PYTHON, AGENCY = str(PREFIX / "bin" / "python"), str(PREFIX / "bin" / "agency")
RECONCILE = "agency-reconcile-agent-workspaces"
SCHEDULER, LOOP = "agency-agent-scheduler@pm", "agency-agent-task-loop@pm"
EXPORTED = (
    "usr/lib/sysusers.d/agency.conf",
    "usr/lib/tmpfiles.d/agency.conf",
    *(f"etc/systemd/system/{RECONCILE}.{kind}" for kind in ("service", "timer")),
    "etc/systemd/system/agency-agent-mcp@.service",
    "etc/systemd/system/agency-agent-workspace@.service",
    *(
        f"etc/systemd/system/agency-agent-{unit}@.{kind}"
        for unit in ("scheduler", "task-loop")
        for kind in ("service", "timer")
    ),
)
# As the timers, but a test cannot wait a quarter of an hour.
SOONER = b"[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nAccuracySec=100ms\n"
DOES = PurePosixPath("/opt/own/does")
# Keeps what it was told, and what it may: the name of the task says how it ends.
PROGRAM = f"""#!{PYTHON} -I
import json, os, pathlib
def may(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return error.strerror
task = json.loads(pathlib.Path(os.environ["AGENCY_TASK"]).read_text())
told = {{"task": task, "uid": os.getuid(), "here": os.getcwd()}}
told["others"] = may("/home/agent-developer")
pathlib.Path("seen-" + task["name"] + ".json").write_text(json.dumps(told))
raise SystemExit(3 if task["name"] == "fails" else 0)
"""
GATEWAY = "http://127.0.0.1:23998/mcp"
FETCHES = ("git", "libcurl3-gnutls", "libnghttp2-14", "librtmp1", "libssh2-1", "libpsl5")
MOST_LOOKS = 120
COMMON = {"domain": "agency.test", "operators": ["@alice:agency.test"]}


# A repository of somebody's, over HTTPS.
REMOTE = "https://127.0.0.1:8443/notes"
SERVES = """
import functools, http.server, ssl, sys
place, chain, key = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=place)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(chain, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
MAKES = """
set -e
git init --quiet --initial-branch=main /srv/notes
cd /srv/notes
echo "of the team" > README.md
git add README.md
git -c user.name=team -c user.email=team@agency.test commit --quiet --message begin
git update-server-info
mv .git ../notes.git && cd .. && rm -r notes && mv notes.git notes
"""


def home(agent: str) -> PurePosixPath:
    return PurePosixPath("/home", naming.agent_user(agent))


def about(agent: str) -> dict[str, Any]:
    """What its settings and the reconciler's both say of it."""
    told = {
        "fullName": agent,
        "email": f"{agent}@agency.test",
        "matrixId": f"@agent-{agent}:agency.test",
    }
    return told | ({"remote": REMOTE} if agent == "developer" else {})


def settings(agent: str) -> dict[str, Any]:
    """As `modules/agents` writes them."""
    loop = {"maxTasks": 5, "maxWallTime": 600, "maxErrors": 3, "command": [str(DOES)]}
    mcp = {"servers": {}, "gateway": GATEWAY}
    return {
        "name": agent,
        "role": agent,
        "home": str(home(agent)),
        "taskLoop": loop,
        "mcp": mcp,
        "workspace": about(agent) | COMMON,
    }


def workspaces() -> dict[str, Any]:
    agents = [
        {
            "name": name,
            "role": name,
            "uid": uid,
            "gid": naming.AGENTS_GID,
            "home": str(home(name)),
            **about(name),
        }
        for name, uid in AGENTS.items()
    ]
    return {"agents": agents, **COMMON}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest, materials: Materials, unpack: Unpack) -> AsyncIterator[Guest]:
    """A guest with the units, and two agents; it has started anew with them."""
    await install(guest, materials)
    await unpack(guest, *FETCHES)
    users = [f"u {naming.agent_user(name)} {uid}:agents" for name, uid in AGENTS.items()]
    files = {
        PurePosixPath("/", path): GuestFile((MACHINE / path).read_bytes()) for path in EXPORTED
    }
    files[PurePosixPath("/etc/sysusers.d/agents.conf")] = GuestFile("\n".join(users).encode())
    files[DOES] = GuestFile(PROGRAM.encode(), mode=0o755)
    files[PurePosixPath("/etc/agency/reconcile/agent-workspaces.json")] = GuestFile(
        json.dumps(workspaces()).encode()
    )
    for name in AGENTS:
        told = json.dumps(settings(name)).encode()
        files[PurePosixPath(f"/etc/agency/agents/{name}.json")] = GuestFile(told, mode=0o644)
    await guest.write(files)
    await guest.run("systemd-sysusers")
    await guest.run("systemctl", "daemon-reload")
    await guest.run("systemctl", "enable", f"{RECONCILE}.service", f"{RECONCILE}.timer")
    await guest.reboot(timeout_s=90)
    yield guest


async def write(host: Guest, name: str, document: Any, agent: str = "pm") -> None:
    """Write a sheet as the agent."""
    path = home(agent) / "agent-space" / name
    argv = ("runuser", "--user", naming.agent_user(agent), "--", "tee", str(path))
    await host.run(*argv, stdin=yaml.safe_dump(document).encode())


async def tasks(host: Guest) -> dict[str, dict[str, Any]]:
    argv = ("runuser", "--user", "agent-pm", "--", "env", f"HOME={home('pm')}", AGENCY)
    listed = json.loads(await host.run(*argv, "workspace", "tasks", "list", "--json"))
    return {task["name"]: task for task in listed["tasks"]}


async def seen(host: Guest, task: str) -> dict[str, Any]:
    path = home("pm") / "agent-space" / f"seen-{task}.json"
    found: dict[str, Any] = json.loads(await host.read(path))
    return found


async def result(host: Guest, unit: str) -> str:
    return (await host.run("systemctl", "show", "--value", "--property=Result", unit)).decode()


async def said(host: Guest, unit: str) -> str:
    argv = ("journalctl", "--unit", unit, "--output=cat", "--no-pager")
    return (await host.run(*argv)).decode()


async def test_workspaces_are_made_at_boot_and_never_overwritten(host: Guest) -> None:
    told, looks = "", 0
    while "nothing differs" not in told and looks < 60:
        told, looks = await said(host, f"{RECONCILE}.service"), looks + 1
        await asyncio.sleep(1)
    assert await result(host, f"{RECONCILE}.service") == "success\n", told
    for name, uid in AGENTS.items():
        place = str(home(name) / "agent-space")
        assert (await host.run("stat", "--format=%u %a", place)).decode() == f"{uid} 700\n"
        as_agent = ("runuser", "--user", naming.agent_user(name), "--")
        author = await host.run(*as_agent, "git", "-C", place, "config", "user.email")
        assert author.decode() == f"{name}@agency.test\n"
    await write(host, "SOUL.md", "mine")
    await host.run("rm", str(home("pm") / "agent-space" / "HUMAN.md"))
    await host.run("systemctl", "start", f"{RECONCILE}.service", timeout_s=60)
    kept = await host.read(home("pm") / "agent-space" / "SOUL.md")
    assert yaml.safe_load(kept) == "mine"
    assert await host.read(home("pm") / "agent-space" / "HUMAN.md"), "what is missing is made"
    await host.run("systemctl", "start", f"{RECONCILE}.service", timeout_s=60)
    assert (await said(host, f"{RECONCILE}.service")).count("nothing differs") >= 2


async def test_timers_take_a_due_schedule_and_work_through_the_list(host: Guest) -> None:
    for unit in (SCHEDULER, LOOP):
        await host.write({UNITS / f"{unit}.timer.d" / "sooner.conf": GuestFile(SOONER)})
    await host.run("systemctl", "daemon-reload")
    often = {"name": "digest", "cron": "* * * * *", "description": "Write the digest."}
    await write(host, "SCHEDULES.yaml", {"schedules": [often]})
    given = [
        {"name": "builds", "description": "Build it.", "priority": "high"},
        {"name": "fails", "description": "Try what cannot be done."},
    ]
    await write(host, "TASKS.yaml", {"tasks": given})
    await host.run("systemctl", "start", f"{SCHEDULER}.timer", f"{LOOP}.timer")

    async def scheduled() -> list[dict[str, Any]]:
        made = [task for name, task in (await tasks(host)).items() if name.startswith("digest")]
        return [task for task in made if task["status"] == "completed"]

    looks = 0
    while not await scheduled() and looks < MOST_LOOKS:
        looks += 1
        await asyncio.sleep(1)
    told = await said(host, f"{LOOP}.service") + await said(host, f"{SCHEDULER}.service")
    assert looks < MOST_LOOKS, told
    await host.run("systemctl", "stop", f"{SCHEDULER}.timer", f"{LOOP}.timer")
    done = await tasks(host)
    assert {name: done[name]["status"] for name in ("builds", "fails")} == {
        "builds": "completed",
        "fails": "failed",
    }
    assert await result(host, f"{SCHEDULER}.service") == "success\n"
    assert await result(host, f"{LOOP}.service") == "success\n"
    told = await seen(host, (await scheduled())[0]["name"])
    assert told["task"]["description"] == "Write the digest."
    assert told["uid"] == AGENTS["pm"]
    assert told["here"] == str(home("pm") / "agent-space")


async def test_what_does_a_task_sees_no_other_home(host: Guest) -> None:
    assert await host.run("ls", "/home/agent-developer"), "there is one, with a workspace"
    assert (await seen(host, "builds"))["others"] == "No such file or directory"


async def test_a_remote_that_is_away_is_tried_again_and_then_cloned(host: Guest) -> None:
    unit, place = "agency-agent-workspace@developer.service", home("developer") / "agent-space"
    await host.look("systemctl", "start", unit, timeout_s=90)
    shown = ("systemctl", "show", "--value", "--property=ActiveState,SubState", unit)
    assert (await host.run(*shown)).decode().split() == ["activating", "auto-restart"]
    assert "cannot be read" in await said(host, unit)
    authority = Authority()
    chain, key = authority.issue("127.0.0.1")
    own = PurePosixPath("/opt/own")
    trusted = PurePosixPath("/etc/ssl/certs/ca-certificates.crt")
    await host.write(
        {
            own / "serves.py": GuestFile(SERVES.encode()),
            own / "chain.pem": GuestFile(chain),
            own / "key.pem": GuestFile(key, mode=0o600),
            trusted: GuestFile(authority.pem, mode=0o644),
        }
    )
    await host.run("sh", "-c", MAKES)
    words = (str(own / "serves.py"), "/srv", str(own / "chain.pem"), str(own / "key.pem"))
    await host.run("systemd-run", "--unit=serves", PYTHON, "-I", *words)
    await host.run("systemctl", "restart", unit, timeout_s=90)
    assert await host.read(place / "README.md") == b"of the team\n"
    git = ("runuser", "--user", "agent-developer", "--", "git", "-C", str(place))
    assert (await host.run(*git, "log", "-1", "--format=%an")).decode() == "team\n"
    assert await host.read(place / "SOUL.md"), "what the remote does not have stays"


async def test_incidents_are_shared_by_the_loop_and_changed_by_nobody_else(host: Guest) -> None:
    incident = {
        "name": "disk-is-slow",
        "description": "The disk answers late.",
        "discovered_during": "builds",
        "status": "open",
        "severity": "medium",
        "workaround": "Wait.",
        "fix": "None yet.",
    }
    await write(host, "ISSUES.yaml", {"issues": [incident]}, "developer")
    await host.run("systemctl", "start", "agency-agent-task-loop@developer.service", timeout_s=60)
    listed = (await host.run("ls", "-l", "/var/lib/agency-incidents")).decode()
    (name,) = [line.split()[-1] for line in listed.splitlines() if "agent-developer" in line]
    shared = f"/var/lib/agency-incidents/{name}"
    as_pm = ("runuser", "--user", "agent-pm", "--")
    for argv in (("tee", "--append", shared), ("rm", "--force", shared)):
        assert (await host.look(*as_pm, *argv)).exit_status != 0, argv
    await write(host, "TASKS.yaml", {"tasks": [{"name": "told", "description": "Know of it."}]})
    await host.run("systemctl", "start", f"{LOOP}.service", timeout_s=60)
    assert "disk-is-slow" in json.dumps((await seen(host, "told"))["task"]["context"])


async def test_tools_are_the_gateway_and_what_the_agent_has_there_stays(host: Guest) -> None:
    own = {"mcpServers": {"mine": {"command": "mine"}}}
    file = home("pm") / ".mcp.json"
    await host.run(
        "runuser", "--user", "agent-pm", "--", "tee", str(file), stdin=json.dumps(own).encode()
    )
    await host.run("systemctl", "start", "agency-agent-mcp@pm.service", timeout_s=60)
    servers = json.loads(await host.read(file))["mcpServers"]
    assert servers.pop("mine") == {"command": "mine"}
    assert [server["url"] for server in servers.values()] == [GATEWAY]
    assert (await host.run("stat", "--format=%U", str(file))).decode() == "agent-pm\n"


@pytest.mark.parametrize("unit", [SCHEDULER, LOOP, RECONCILE, "agency-agent-mcp@pm"])
async def test_the_units_are_confined(host: Guest, unit: str) -> None:
    argv = ("systemd-analyze", "security", "--no-pager", "--threshold=30", f"{unit}.service")
    assert b"Overall exposure level" in await host.run(*argv)
