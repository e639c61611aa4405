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
OPS = {"name": "ops", "uid": 4003, "port": 20003}
CONTROL, PERSON = 3998, 1000
LOOPBACK = "127.0.0.1"

# Runs as root inside the namespace: servers first, then one attempt per line of the question.
DRIVER = """
import json, socket, subprocess, sys

PYTHON = "/usr/bin/python3"
SERVE = (
    "import socket, sys\\n"
    "s = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=0)\\n"
    "print('up', flush=True)\\n"
    "while True:\\n"
    "    c, _ = s.accept(); c.send(b'hi'); c.close()\\n"
)
CONNECT = (
    "import socket, sys\\n"
    "own = ('127.0.0.1', int(sys.argv[3]))\\n"
    "s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2, own)\\n"
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
for uid, host, port, own in question["attempts"]:
    attempt = subprocess.run(
        [PYTHON, "-c", CONNECT, host, str(port), str(own)], user=uid, group=uid, extra_groups=[],
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
    for agent in (PM, DEVELOPER, OPS):
        text += environment.from_string(template).render(agent=agent)
    add = "add element inet agency-agents"
    text += f"{add} agent_egress4 {{ {PM['uid']} . 127.9.0.0/24 . tcp . 8443 }}\n"
    text += f"{add} agent_loopback {{ {PM['uid']} . 8008, {OPS['uid']} . 8008 }}\n"
    return text


Attempt = tuple[int, str, int, int]
THIEVED = (8017, DEVELOPER["port"])  # where pm sits: a service's port and another agent's


def attempt(uid: int, port: int, *, host: str = LOOPBACK, own: int = 0) -> Attempt:
    """Who asks which port, and from which of its own (0: any)."""
    return uid, host, port, own


@pytest.fixture(scope="module")
def answers() -> dict[Attempt, str]:
    missing = [name for name in ("unshare", "nft", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip(f"needs root, /usr/bin/python3 and {', '.join(missing) or 'nft'}")
    users = (0, CONTROL, PERSON)
    attempts = [
        *[attempt(uid, PM["port"]) for uid in (PM["uid"], 0, CONTROL)],
        *[attempt(uid, PM["port"]) for uid in (DEVELOPER["uid"], PERSON)],
        *[attempt(uid, 8008) for uid in (PERSON, PM["uid"], DEVELOPER["uid"], OPS["uid"])],
        *[attempt(uid, 8017) for uid in users],
        *[attempt(uid, 8018) for uid in users],
        *[attempt(uid, DEVELOPER["port"]) for uid in (0, CONTROL, DEVELOPER["uid"])],
        attempt(OPS["uid"], 8008, own=OPS["port"]),
        attempt(CONTROL, 20004),
        attempt(PM["uid"], 8443, host="127.9.0.1"),
        attempt(PM["uid"], 8444, host="127.9.0.1"),
        attempt(DEVELOPER["uid"], 8443, host="127.9.0.1"),
    ]
    question = {
        "rules": _rules(),
        "servers": [
            (PM["uid"], PM["port"]),
            (0, 8008),
            (PERSON, 8018),
            *[(PM["uid"], port) for port in THIEVED],
        ],
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
    assert answers[attempt(uid, PM["port"])] == "hi"


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", [DEVELOPER["uid"], PERSON])
def test_an_agents_port_is_closed_to_others(answers, uid) -> None:
    assert answers[attempt(uid, PM["port"])] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_an_agent_that_sits_on_anothers_port_is_not_heard(answers) -> None:
    for uid in (0, CONTROL, DEVELOPER["uid"]):
        assert answers[attempt(uid, DEVELOPER["port"])] == "TimeoutError"


@pytest.mark.needs_root
def test_an_agent_that_sits_on_a_services_port_is_not_heard(answers) -> None:
    for uid in (0, CONTROL, PERSON):
        assert answers[attempt(uid, 8017)] == "TimeoutError"
        assert answers[attempt(uid, 8018)] == "hi", "where somebody else serves"


@pytest.mark.needs_root
def test_a_port_without_a_server_refuses_at_once(answers) -> None:
    assert answers[attempt(CONTROL, 20004)] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_an_agent_uses_only_the_loopback_services_it_declares(answers) -> None:
    for uid in (PM["uid"], PERSON, OPS["uid"]):
        assert answers[attempt(uid, 8008)] == "hi"
    assert answers[attempt(DEVELOPER["uid"], 8008)] == "OSError"


@pytest.mark.needs_root
def test_an_agent_asks_nobody_from_the_port_it_answers_on(answers) -> None:
    """What comes from there is taken for an answer, whatever else is declared."""
    assert answers[attempt(OPS["uid"], 8008, own=OPS["port"])] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_only_declared_egress_leaves(answers) -> None:
    # Nothing listens there: refused by the far end is let through, unreachable is not.
    elsewhere = "127.9.0.1"
    assert answers[attempt(PM["uid"], 8443, host=elsewhere)] == "ConnectionRefusedError"
    assert answers[attempt(PM["uid"], 8444, host=elsewhere)] == "OSError"
    assert answers[attempt(DEVELOPER["uid"], 8443, host=elsewhere)] == "OSError"
