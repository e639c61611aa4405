"""A command-line agent as its exported unit, begun by the runtime: what its shell can, and cannot.

Real: systemd, the exported units of agent, gateway and command-line agent with their confinement,
the files that the runtime hands over. The agent is a shell that does its task; who hands tasks over
is not the account in rooms, but speaks as its user and in its way.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any

import begin_hosted
import pytest
import pytest_asyncio

from agency import naming
from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.install import install
from agency.guests.machines.machine import Guest, GuestFile

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.thorough]

UNITS = Path(__file__).resolve().parents[3] / "modules" / "portable" / "machine"
PYTHON = str(PREFIX / "bin" / "python")
EXPORTED = (
    "usr/lib/sysusers.d/agency.conf",
    "etc/systemd/system/agency-agent@.service",
    "etc/systemd/system/agency-agent-gateway@.service",
    "etc/systemd/system/agency-agent-command@.service",
    "etc/systemd/system/agency-agents.slice",
)
AGENTS = ("pm", "developer")
PROGRAM, PORT = PurePosixPath("/opt/own/agent"), 23999
UNIT = "agency-agent-command@pm.service"
HELD = "/run/agency-control/beside/pm"
# The agent: its task is what its shell does.
AGENT = b"#!/bin/sh\nexec /bin/sh\n"
BEGINS = Path(begin_hosted.__file__).read_text()
BEGIN = {
    "agent": "pm",
    "role": "pm",
    "port": PORT,
    "program": {
        "kind": "command",
        "model": "small",
        "agent": "opencode",
        "run": [str(PROGRAM)],
        "own_tools": "confined",
    },
    "models": {"url": "http://127.0.0.1:8028", "tokens": "/run/agency-control/model-tokens"},
}
# The account in rooms, as far as its command-line agent knows it.
HAND_OVER = """
import asyncio, json, pathlib, sys
from agency.agent.programs.command.apart import run_apart
from agency.errors import AgencyError

def way(name):
    async def answer(reader, writer):
        await reader.readexactly(4)
        writer.write(name.encode())
        writer.close()
    return answer

async def main():
    place = pathlib.Path(sys.argv[1])
    ways = []
    for name in ("proxy", "gateway"):
        await asyncio.start_unix_server(way(name), place / name)
        ways.append(lambda path=place / name: asyncio.open_unix_connection(path))
    socket = pathlib.Path("/run/agency-command/pm/tasks.sock")
    try:
        status, said, errors = await run_apart(
            socket, "small", sys.stdin.read(), ways, (1 << 20, 1 << 20)
        )
    except AgencyError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps({"status": status, "said": said.decode(), "errors": errors.decode()}))

asyncio.run(main())
"""
REACH = """
import socket, sys
for each in sys.argv[1:]:
    try:
        if each.startswith("@"):
            made = socket.socket(socket.AF_UNIX)
            made.connect("\\0" + each[1:])
        else:
            host, _, port = each.rpartition(":")
            made = socket.create_connection((host, int(port)), 2)
        made.sendall(b"who?")
        print(each, "->", made.recv(100).decode())
    except OSError as error:
        print(each, "->", error.strerror or error)
"""
# Somebody who is reached on this machine: by a port, and by an abstract socket.
NEIGHBOUR = f"""
import asyncio
async def answer(reader, writer):
    await reader.readexactly(4)
    writer.write(b"neighbour")
    writer.close()
async def main():
    await asyncio.start_server(answer, "127.0.0.1", {PORT + 1})
    await asyncio.start_unix_server(answer, "\\0neighbour")
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest, materials: Materials) -> AsyncIterator[Guest]:
    """A guest where the runtime has begun an agent whose program is a command-line agent."""
    await install(guest, materials)
    users = [f"u {naming.agent_user(name)} {4100 + n}:agents" for n, name in enumerate(AGENTS)]
    files = {PurePosixPath("/", path): GuestFile((UNITS / path).read_bytes()) for path in EXPORTED}
    files[PurePosixPath("/etc/sysusers.d/agents.conf")] = GuestFile("\n".join(users).encode())
    files[PROGRAM] = GuestFile(AGENT, mode=0o755)
    for name, text in (("begin", BEGINS), ("over", HAND_OVER), ("reach", REACH)):
        files[PurePosixPath("/opt/own", f"{name}.py")] = GuestFile(text.encode(), mode=0o644)
    files[PurePosixPath("/opt/own/neighbour.py")] = GuestFile(NEIGHBOUR.encode(), mode=0o644)
    await guest.write(files)
    await guest.run("systemd-sysusers")
    for name in AGENTS:
        user = naming.agent_user(name)
        await guest.run("install", "-d", "-m", "0700", "-o", user, "-g", "agents", f"/home/{user}")
        await guest.run(*_as(name), "sh", "-c", f"echo of-{name} > /home/{user}/file")
    await guest.run("install", "-d", "-m", "0700", "/run/agency-control")
    await guest.run("systemctl", "daemon-reload")
    await guest.run("systemd-run", "--unit=neighbour", PYTHON, "/opt/own/neighbour.py")
    begin = (PYTHON, "/opt/own/begin.py", json.dumps(BEGIN))
    assert await guest.run(*begin, timeout_s=60) == b"running\n"
    yield guest


def _as(name: str) -> tuple[str, ...]:
    return ("runuser", "--user", naming.agent_user(name), "--")


async def _do(host: Guest, script: str, name: str = "pm") -> dict[str, Any]:
    """Hand a task over as an agent's user."""
    await host.run("rm", "-rf", "/tmp/ways")
    await host.run("install", "-d", "-o", naming.agent_user(name), "/tmp/ways")
    argv = (*_as(name), PYTHON, "/opt/own/over.py", "/tmp/ways")
    found: dict[str, Any] = json.loads(await host.run(*argv, stdin=script.encode(), timeout_s=90))
    return found


async def _runs(host: Guest, name: str) -> bool:
    found = await host.look("sh", "-c", f"grep -qx {name} /proc/[0-9]*/comm")
    return found.exit_status == 0


async def test_its_shell_works_in_the_workspace(host: Guest) -> None:
    done = await _do(host, "pwd; id -u; echo built > made; cat made")
    place, uid, made = done["said"].split()
    assert place.endswith("/agency-command/pm/workspace")
    assert made == "built"
    users = (await host.run("getent", "passwd")).decode()
    assert f":{uid}:" not in users, "a user of its own, which no agent has"
    assert await host.run("cat", "/var/lib/private/agency-command/pm/workspace/made") == b"built\n"


async def test_it_reaches_gateway_and_proxy_and_nothing_else(host: Guest) -> None:
    """What it does not reach, the same command reaches outside of its unit."""
    tries = f"127.0.0.1:{PORT + 1} @neighbour 127.0.0.1:{PORT} 192.0.2.1:443"
    command = f"{PYTHON} -I /opt/own/reach.py 127.0.0.1:2100 127.0.0.1:2200 {tries}"
    outside = (await host.run("sh", "-c", command)).decode()
    assert f"127.0.0.1:{PORT + 1} -> neighbour" in outside
    assert "@neighbour -> neighbour" in outside
    assert f"127.0.0.1:{PORT} -> HTTP" in outside, "the agent's own ACP"
    inside = (await _do(host, command))["said"]
    assert inside.splitlines() == [
        "127.0.0.1:2100 -> proxy",
        "127.0.0.1:2200 -> gateway",
        f"127.0.0.1:{PORT + 1} -> Connection refused",
        "@neighbour -> Connection refused",
        f"127.0.0.1:{PORT} -> Connection refused",
        "192.0.2.1:443 -> Network is unreachable",
    ]


async def test_it_reads_nothing_of_agents_gateway_and_control_plane(host: Guest) -> None:
    gateway = "/var/lib/agency-gateway/pm"
    make = f"install -d -m 0700 {gateway}; echo x > {gateway}/policy.json"
    await host.run("sh", "-c", make)
    files = (
        *("/home/agent-pm/file", "/home/agent-developer/file"),
        f"{gateway}/policy.json",
        *(f"{HELD}/{name}" for name in ("matrix-token", "gateway-control-token", "chat.json")),
        "/run/agency-control/agents/pm.token",
        "/run/credentials/agency-agent@pm.service/acp-token",
        "/run/credentials/agency-agent-gateway@pm.service/gateway-control-token",
    )
    for each in files:
        assert await host.run("cat", each), f"{each} is there"
    done = await _do(host, "; ".join(f"cat {each}" for each in files))
    assert done["said"] == ""
    assert len(done["errors"].splitlines()) == len(files)
    mine = "/run/credentials/agency-agent-command@pm.service"
    listed = (await _do(host, f"ls {mine}; cat {mine}/gateway-token"))["said"].split()
    token = (await host.run("cat", f"{HELD}/gateway-token")).decode()
    assert listed == ["gateway-token", "host.json", "model-token", token]


async def test_it_sees_no_process_but_its_own_and_changes_nothing(host: Guest) -> None:
    seen = "for each in /proc/[0-9]*; do tr '\\0' ' ' < $each/cmdline; echo; done"
    lines = [line for line in (await _do(host, seen))["said"].splitlines() if line]
    assert lines
    assert not [line for line in lines if "agent run" in line or "agent gateway" in line]
    wrote = f"for each in /etc/x /opt/own/x /run/x /home/x {PROGRAM}; do echo x >> $each; done"
    done = await _do(host, wrote)
    assert len(done["errors"].splitlines()) == 5


async def test_no_other_user_hands_it_a_task(host: Guest) -> None:
    assert "its host ended" in (await _do(host, "id", name="developer"))["error"]
    assert (await _do(host, "echo still here"))["said"] == "still here\n"


async def test_its_exposure_is_low_and_it_ends_with_its_agent(host: Guest) -> None:
    said = (await host.run("systemd-analyze", "security", "--no-pager", UNIT)).decode()
    (exposure,) = re.findall(r"exposure level.*: ([0-9.]+)", said)
    assert float(exposure) <= 2.0, said
    left = "(setsid sleep 600 >/dev/null 2>&1 &); echo left"
    assert (await _do(host, left))["said"] == "left\n"
    assert not await _runs(host, "sleep")
    await host.run("systemd-run", "sleep", "600")
    assert await _runs(host, "sleep")
    await host.run("systemctl", "stop", naming.agent_unit("pm"))
    for unit in (UNIT, "agency-agent-gateway@pm.service"):
        assert (await host.look("systemctl", "is-active", unit)).stdout == b"inactive\n"
