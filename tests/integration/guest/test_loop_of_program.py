"""The builtin program of an agent does a task of its list, each part by its exported unit.

    runtime ─▶ agent, gateway;  proxy ─▶ scripted model
    timer's unit: task loop ─▶ program ─▶ proxy, gateway ─▶ tool server: a repository

Real: systemd, the units with their confinement, what the runtime hands over, policy, ledger and
audit log. The model is scripted; accounts of a homeserver are simulated, and nobody is in a room.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import begin_hosted
import pytest
import pytest_asyncio
import yaml

from agency import naming
from agency.canonical import canonical_json
from agency.gosuto import canonical, read_document
from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.install import install
from agency.guests.machines.machine import Guest, GuestFile
from agency.instance.documents import HOST_PROXY, proxy_document
from agency.instance.model import Instance
from agency.spinup.targets.incus.parts.agents import scripted, tools
from agency.spinup.targets.incus.parts.agents.task import TASK, policy

Unpack = Callable[..., Awaitable[None]]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.thorough]

PORTABLE = Path(__file__).resolve().parents[3] / "modules" / "portable"
PYTHON, AGENCY = str(PREFIX / "bin" / "python"), str(PREFIX / "bin" / "agency")
AGENT, UID, PORT, MODEL_PORT = "developer", 4101, 23997, 8099
USER, HOME = naming.agent_user(AGENT), f"/home/{naming.agent_user(AGENT)}"
LOOP = f"agency-agent-task-loop@{AGENT}.service"
KEY = "/run/secrets/model-scripted-key"
OWN = PurePosixPath("/opt/own")
MOST_LOOKS = 20
MACHINE = (
    "usr/lib/sysusers.d/agency.conf",
    *(f"etc/systemd/system/agency-audit.{kind}" for kind in ("service", "socket")),
    *(
        f"etc/systemd/system/agency-agent{unit}@.service"
        for unit in ("", "-gateway", "-chat", "-task-loop")
    ),
    "etc/systemd/system/agency-agents.slice",
)
PART = (
    "usr/lib/sysusers.d/agency-agents.conf",
    "usr/lib/tmpfiles.d/agency-models.conf",
    "etc/systemd/system/agency-proxy.service",
)
GOSUTO = OWN / "gosuto.json"
BEGIN = {
    "agent": AGENT,
    "role": "developer",
    "port": PORT,
    "program": {"kind": "builtin", "model": scripted.MODEL},
    "models": {
        "url": f"http://127.0.0.1:{naming.SERVICE_PORTS['models']}",
        "tokens": "/var/lib/agency-models/tokens",
        "audit_socket": "/run/agency-audit.sock",
    },
    "gosuto": str(GOSUTO),
}


def instance() -> Instance:
    program = {"model": scripted.MODEL, "budget": {"tokensPerDay": 1_000_000, "usdPerDay": 10}}
    url = f"http://127.0.0.1:{MODEL_PORT}"
    return Instance.model_validate(
        {
            "version": 1,
            "name": "test",
            "domain": "agency.test",
            "operators": ["@alice:agency.test"],
            "agents": {AGENT: {"role": "developer", "program": program}},
            "models": {
                "providers": {scripted.MODEL: {"kind": "openai", "url": url}},
                "offered": {
                    scripted.MODEL: {
                        "provider": scripted.MODEL,
                        "price": {"input": 1.0, "output": 2.0},
                    }
                },
            },
            "secrets": {"provider": "ephemeral"},
        }
    )


def files() -> dict[PurePosixPath, GuestFile]:
    limits = {"maxTasks": 5, "maxWallTime": 600, "maxErrors": 3}
    settings = {"name": AGENT, "role": "developer", "home": HOME, "taskLoop": limits}
    told = policy(AGENT, "!room:agency.test", "@alice:agency.test", HOME)
    gosuto = canonical(read_document("test", json.dumps(told).encode()))
    exported = {
        **{PurePosixPath("/", one): PORTABLE / "machine" / one for one in MACHINE},
        **{PurePosixPath("/", one): PORTABLE / "parts/agents/machine" / one for one in PART},
    }
    return {
        **{place: GuestFile(source.read_bytes()) for place, source in exported.items()},
        PurePosixPath("/etc/sysusers.d/agents.conf"): GuestFile(
            f"u {USER} {UID}:agents\n".encode()
        ),
        PurePosixPath(f"/etc/agency/agents/{AGENT}.json"): GuestFile(json.dumps(settings).encode()),
        PurePosixPath("/etc/agency/proxy.json"): GuestFile(
            canonical_json(proxy_document(instance(), HOST_PROXY))
        ),
        PurePosixPath(KEY): GuestFile(b"key-of-the-provider", mode=0o600),
        OWN / "begin.py": GuestFile(Path(begin_hosted.__file__).read_bytes()),
        GOSUTO: GuestFile(gosuto),
        PurePosixPath(f"/var/lib/agency-models/gosuto/{AGENT}.json"): GuestFile(gosuto),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest, materials: Materials, unpack: Unpack) -> AsyncIterator[Guest]:
    """A guest where the runtime has begun an agent whose program is the builtin one."""
    await install(guest, materials)
    await unpack(guest, "git")  # without what it takes to fetch
    await guest.write(files())
    await guest.run("systemd-sysusers")
    await guest.run("systemd-tmpfiles", "--create", "agency-models.conf")
    await guest.run("install", "-d", "-m", "0700", "-o", USER, "-g", "agents", HOME)
    await guest.run("install", "-d", "-m", "0700", "/run/agency-control")
    await guest.run("systemctl", "daemon-reload")
    model = (*(PYTHON, "-I", "-m", scripted.__name__), str(MODEL_PORT))
    await guest.run("systemd-run", "--quiet", "--unit=scripted-model", *model)
    await guest.run("systemctl", "start", "agency-audit.socket", "agency-proxy.service")
    await as_agent(guest, PYTHON, "-I", "-m", tools.__name__, "prepare", HOME)
    begin = (PYTHON, str(OWN / "begin.py"), json.dumps(BEGIN))
    assert await guest.run(*begin, timeout_s=90) == b"running\n"
    yield guest


async def as_agent(guest: Guest, *argv: str, stdin: bytes = b"") -> bytes:
    user = ("runuser", "--user", USER, "--", "env", f"HOME={HOME}")
    return await guest.run(*user, *argv, stdin=stdin, timeout_s=60)


async def recorded(host: Guest) -> list[dict[str, Any]]:
    """The audit log: the proxy writes the row of a call after its answer, so it may come late."""
    for _ in range(MOST_LOOKS):
        log = (await host.read(PurePosixPath(f"/var/log/agency-agents/{AGENT}.jsonl"))).decode()
        rows: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
        if [row["event"] for row in rows].count("model.called") == len(scripted.SCRIPT):
            break
        await asyncio.sleep(0.5)
    return rows


async def test_a_task_of_the_list_is_done_by_the_program_under_policy(host: Guest) -> None:
    space = f"{HOME}/agent-space"
    await as_agent(host, "mkdir", space)
    task = {"name": "mend-add", "description": TASK}
    for name, document in (("TASKS", {"tasks": [task]}), ("SCHEDULES", {"schedules": []})):
        sheet = yaml.safe_dump(document).encode()
        await as_agent(host, "tee", f"{space}/{name}.yaml", stdin=sheet)
    await host.look("systemctl", "start", LOOP, timeout_s=120)
    journal = ("journalctl", "--output=cat", "--no-pager", "--unit", LOOP)
    said = (await host.run(*journal)).decode()
    listed = json.loads(await as_agent(host, AGENCY, "workspace", "tasks", "list", "--json"))
    (done,) = listed["tasks"]
    assert (done["status"], done["note"]) == ("completed", scripted.ANSWER), said
    branch = f"{USER}/{scripted.BRANCH}"
    git = ("git", "-C", f"{HOME}/{tools.REPOSITORY}")
    changed = await as_agent(host, *git, "diff", "--name-only", f"main..{branch}")
    assert changed == b"calculator.py\n"


async def test_its_calls_are_decided_and_paid_and_recorded(host: Guest) -> None:
    journal = ("journalctl", "--output=cat", "--no-pager", "--unit=scripted-model")
    asked = (await host.run(*journal)).decode().splitlines()
    turns = [json.loads(line) for line in asked if line.startswith('{"request"')]
    assert [each["turn"] for each in turns] == [turn.tool or "answer" for turn in scripted.SCRIPT]
    assert "work__push" not in turns[0]["offered"], "what is denied is not offered"
    rows = await recorded(host)
    events = [row["event"] for row in rows]
    assert events.count("task.taken") == 1
    ended = [row["detail"]["outcome"] for row in rows if row["event"] == "task.ended"]
    assert ended == ["answered"]
    assert events.count("model.called") == len(scripted.SCRIPT)
    decided = [row["detail"] for row in rows if row["event"] == "tool.decided"]
    assert [each["decision"] for each in decided] == ["allow", "allow", "allow", "deny", "allow"]
    await host.run(AGENCY, "workspace", "audit", "verify")


async def test_without_its_agent_nothing_of_the_list_is_begun(host: Guest) -> None:
    """The control of the first test: the program works by what the agent's start made."""
    await host.run("systemctl", "stop", naming.agent_unit(AGENT))
    await host.run("rm", "-rf", f"/run/agency-control/beside/{AGENT}")
    sheet = yaml.safe_dump({"tasks": [{"name": "waits", "description": TASK}]}).encode()
    await as_agent(host, "tee", f"{HOME}/agent-space/TASKS.yaml", stdin=sheet)
    await host.look("systemctl", "start", LOOP, timeout_s=60)
    listed = json.loads(await as_agent(host, AGENCY, "workspace", "tasks", "list", "--json"))
    assert {one["name"]: one["status"] for one in listed["tasks"]}["waits"] == "pending"
