"""The exported firewall, in a network namespace: who reaches whose port, and what leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

PORTABLE = Path(__file__).resolve().parents[2] / "modules/portable"
PM = {"name": "pm", "uid": 4001, "port": 20001}
DEVELOPER = {"name": "developer", "uid": 4002, "port": 20002}
CONTROL, PERSON = 3998, 1000

# Runs as root inside the namespace: servers first, then one attempt per line of the question.
DRIVER = """
import json, socket, subprocess, sys

PYTHON = "/usr/bin/python3"
SERVE = (
    "import socket, sys\\n"
    "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\\n"
    "print('up', flush=True)\\n"
    "while True:\\n"
    "    c, _ = s.accept(); c.send(b'hi'); c.close()\\n"
)
CONNECT = (
    "import socket, sys\\n"
    "s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)\\n"
    "print(s.recv(2).decode())\\n"
)
question = json.load(sys.stdin)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "-f", "-"], input=question["rules"], text=True, check=True)
servers = []
for uid, port in question["servers"]:
    server = subprocess.Popen(
        [PYTHON, "-c", SERVE, str(port)], user=uid, group=uid, extra_groups=[],
        stdout=subprocess.PIPE,
    )
    server.stdout.readline()
    servers.append(server)
answers = []
for uid, host, port in question["attempts"]:
    attempt = subprocess.run(
        [PYTHON, "-c", CONNECT, host, str(port)], user=uid, group=uid, extra_groups=[],
        capture_output=True, text=True, timeout=20,
    )
    lines = attempt.stderr.strip().splitlines()
    answers.append(attempt.stdout.strip() or lines[-1].split(":")[0])
for server in servers:
    server.kill()
    server.wait()
print(json.dumps(answers))
"""


def _rules() -> str:
    text = (PORTABLE / "machine/etc/nftables.d/agency-agents.nft").read_text()
    template = (PORTABLE / "agent/etc/nftables.d/agency-agents.d/AGENT.nft").read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    for agent in (PM, DEVELOPER):
        text += environment.from_string(template).render(agent=agent)
    add = "add element inet agency-agents"
    text += f"{add} agent_egress4 {{ {PM['uid']} . 127.9.0.0/24 . tcp . 8443 }}\n"
    text += f"{add} agent_loopback {{ {PM['uid']} . 8008 }}\n"
    return text


@pytest.fixture(scope="module")
def answers() -> dict[tuple[int, str, int], str]:
    missing = [name for name in ("unshare", "nft", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip(f"needs root, /usr/bin/python3 and {', '.join(missing) or 'nft'}")
    loopback = "127.0.0.1"
    attempts = [
        *[(uid, loopback, PM["port"]) for uid in (PM["uid"], 0, CONTROL)],
        *[(uid, loopback, PM["port"]) for uid in (DEVELOPER["uid"], PERSON)],
        (CONTROL, loopback, DEVELOPER["port"]),
        *[(uid, loopback, 8008) for uid in (PERSON, PM["uid"], DEVELOPER["uid"])],
        (CONTROL, loopback, 20003),
        (PM["uid"], "127.9.0.1", 8443),
        (PM["uid"], "127.9.0.1", 8444),
        (DEVELOPER["uid"], "127.9.0.1", 8443),
    ]
    question = {
        "rules": _rules(),
        # The last one: pm sits on the developer's port.
        "servers": [(PM["uid"], PM["port"]), (0, 8008), (PM["uid"], DEVELOPER["port"])],
        "attempts": attempts,
    }
    result = subprocess.run(
        ["unshare", "--net", "/usr/bin/python3", "-c", DRIVER],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return dict(zip(attempts, json.loads(result.stdout), strict=True))


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", [PM["uid"], 0, CONTROL])
def test_an_agents_port_is_open_to_its_owner_the_control_plane_and_root(answers, uid) -> None:
    assert answers[uid, "127.0.0.1", PM["port"]] == "hi"


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", [DEVELOPER["uid"], PERSON])
def test_an_agents_port_is_closed_to_others(answers, uid) -> None:
    assert answers[uid, "127.0.0.1", PM["port"]] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_an_agent_that_sits_on_anothers_port_is_not_heard(answers) -> None:
    assert answers[CONTROL, "127.0.0.1", DEVELOPER["port"]] == "TimeoutError"


@pytest.mark.needs_root
def test_a_port_without_a_server_refuses_at_once(answers) -> None:
    assert answers[CONTROL, "127.0.0.1", 20003] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_an_agent_uses_only_the_loopback_services_it_declares(answers) -> None:
    assert answers[PM["uid"], "127.0.0.1", 8008] == "hi"
    assert answers[PERSON, "127.0.0.1", 8008] == "hi"
    assert answers[DEVELOPER["uid"], "127.0.0.1", 8008] == "OSError"


@pytest.mark.needs_root
def test_only_declared_egress_leaves(answers) -> None:
    # Nothing listens there: refused by the far end is let through, unreachable is not.
    assert answers[PM["uid"], "127.9.0.1", 8443] == "ConnectionRefusedError"
    assert answers[PM["uid"], "127.9.0.1", 8444] == "OSError"
    assert answers[DEVELOPER["uid"], "127.9.0.1", 8443] == "OSError"
