"""The exported firewall, in a network namespace: who reaches whose port, and what leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest

PORTABLE = Path(__file__).resolve().parents[2] / "modules/portable"
PM = {"name": "pm", "uid": 4001, "port": 20001}
DEVELOPER = {"name": "developer", "uid": 4002, "port": 20002}
OPS = {"name": "ops", "uid": 4003, "port": 20003}
CONTROL, SYNAPSE, PERSON = 3998, 224, 1000
GONE = 4777  # of the agents' range, and no agent has it
LOOPBACK, ELSEWHERE = "127.0.0.1", "127.0.0.2"
AS_ROOT = ("unshare", "--net", "/usr/bin/python3", "-c")

# Runs as root inside the namespace: servers first, then one attempt per line of the question.
DRIVER = """
import json, socket, subprocess, sys

PYTHON = "/usr/bin/python3"
SERVE = (
    "import socket, sys\\n"
    "s = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=0)\\n"
    "print('up', flush=True)\\n"
    "while True:\\n"
    "    c, _ = s.accept(); c.send(b'hi'); c.close()\\n"
)
CONNECT = (
    "import socket, sys\\n"
    "own = (sys.argv[1], int(sys.argv[3]))\\n"
    "s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2, own)\\n"
    "print(s.recv(2).decode())\\n"
)
question = json.load(sys.stdin)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "-f", "-"], input=question["rules"], text=True, check=True)
servers = []
for uid, host, port in question["servers"]:
    server = subprocess.Popen(
        [PYTHON, "-c", SERVE, host, str(port)], user=uid, group=uid, extra_groups=[],
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


def _need_namespaces() -> None:
    missing = [name for name in ("unshare", "nft", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip(f"needs root, /usr/bin/python3 and {', '.join(missing) or 'nft'}")


def _drive(driver: str, question: object) -> Any:
    """Run the driver as root in a network namespace of its own; return its answers."""
    result = subprocess.run(
        [*AS_ROOT, driver], input=json.dumps(question), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def answers() -> dict[Attempt, str]:
    _need_namespaces()
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
        *[attempt(uid, 8444, host="127.9.0.1") for uid in (GONE, PERSON)],
        attempt(GONE, 8008),
        *[attempt(uid, 8010) for uid in (0, CONTROL, SYNAPSE, PERSON, 33, PM["uid"], OPS["uid"])],
        *[
            attempt(uid, port, host=ELSEWHERE)
            for port in (8008, 8010)
            for uid in (0, CONTROL, SYNAPSE)
        ],
    ]
    question = {
        "rules": _rules(),
        "servers": [
            (PM["uid"], LOOPBACK, PM["port"]),
            (SYNAPSE, LOOPBACK, 8008),
            (PERSON, LOOPBACK, 8018),
            *[(PM["uid"], LOOPBACK, port) for port in THIEVED],
            # Owners, and a person who took the same port of another address.
            (CONTROL, LOOPBACK, 8010),
            (PERSON, ELSEWHERE, 8010),
            (PERSON, ELSEWHERE, 8008),
        ],
        "attempts": attempts,
    }
    return dict(zip(attempts, _drive(DRIVER, question), strict=True))


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


@pytest.mark.needs_root
@pytest.mark.parametrize("port", [8008, 8010])
def test_who_takes_a_services_port_is_heard_by_nobody(answers, port) -> None:
    """Not by root, nor by the two who prove themselves there with a token."""
    for uid in (0, CONTROL, SYNAPSE):
        assert answers[attempt(uid, port, host=ELSEWHERE)] == "TimeoutError"


@pytest.mark.needs_root
def test_the_control_plane_is_asked_by_its_homeserver_and_by_no_stranger(answers) -> None:
    for uid in (0, CONTROL, SYNAPSE):
        assert answers[attempt(uid, 8010)] == "hi"
    for uid in (PERSON, 33, PM["uid"], OPS["uid"]):
        assert answers[attempt(uid, 8010)] == "ConnectionRefusedError"


@pytest.mark.needs_root
def test_a_uid_of_an_agent_that_is_gone_stays_confined(answers) -> None:
    assert answers[attempt(GONE, 8444, host="127.9.0.1")] == "OSError"
    assert answers[attempt(GONE, 8008)] == "OSError"
    assert answers[attempt(PERSON, 8444, host="127.9.0.1")] == "ConnectionRefusedError"


# A thief listens, with no room left (so that the kernel neither refuses a client nor keeps its
# connection half open), and connects from that port to the client: TCP takes a SYN for an answer.
# The client's own port is known here; elsewhere /proc tells it.
SIMULTANEOUS = """
import json, socket, subprocess, sys, time

PYTHON = "/usr/bin/python3"
STEAL = (
    "import socket, sys, time\\n"
    "def bound():\\n"
    "    s = socket.socket()\\n"
    "    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\\n"
    "    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\\n"
    "    s.bind(('127.0.0.1', int(sys.argv[1])))\\n"
    "    return s\\n"
    "quiet = bound(); quiet.listen(0)\\n"
    "fill = [socket.socket() for _ in range(3)]\\n"
    "for one in fill:\\n"
    "    one.setblocking(False); one.connect_ex(('127.0.0.1', int(sys.argv[1])))\\n"
    "print('up', flush=True)\\n"
    "end = time.monotonic() + 4\\n"
    "while time.monotonic() < end:\\n"
    "    s = bound(); s.settimeout(0.3)\\n"
    "    try:\\n"
    "        s.connect(('127.0.0.1', int(sys.argv[2]))); s.send(b'hi'); time.sleep(1)\\n"
    "    except OSError:\\n"
    "        time.sleep(0.01)\\n"
    "    s.close()\\n"
)
ASK = (
    "import socket, sys\\n"
    "there, own = (('127.0.0.1', int(port)) for port in sys.argv[1:])\\n"
    "s = socket.create_connection(there, 3, own)\\n"
    "print(s.recv(2).decode())\\n"
)
question = json.load(sys.stdin)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["nft", "-f", "-"], input=question["rules"], text=True, check=True)
answers = []
for thief, uid, port in question["attempts"]:
    own = 40000 + port
    theft = subprocess.Popen(
        [PYTHON, "-c", STEAL, str(port), str(own)], user=thief, group=thief, extra_groups=[],
        stdout=subprocess.PIPE,
    )
    theft.stdout.readline()
    asked = subprocess.run(
        [PYTHON, "-c", ASK, str(port), str(own)], user=uid, group=uid, extra_groups=[],
        capture_output=True, text=True, timeout=20,
    )
    lines = asked.stderr.strip().splitlines()
    answers.append(asked.stdout.strip() or lines[-1].split(":")[0])
    theft.kill()
    theft.wait()
print(json.dumps(answers))
"""
# Of a port that is not held: its answers are dropped, and a SYN is none.
ANSWERS_DROPPED = """
table inet test {
  chain output {
    type filter hook output priority filter; policy accept;
    tcp sport 8019 tcp flags & (syn | ack) == (syn | ack) drop
  }
}
"""


@pytest.mark.needs_root
def test_nobody_answers_in_anothers_stead_by_a_simultaneous_open() -> None:
    _need_namespaces()
    attempts = [
        (PERSON, SYNAPSE, 8019),
        (PERSON, SYNAPSE, 8010),
        (PERSON, CONTROL, 8008),
        (PERSON, CONTROL, PM["port"]),
        (DEVELOPER["uid"], CONTROL, PM["port"]),
    ]
    question = {"rules": _rules() + ANSWERS_DROPPED, "attempts": attempts}
    control, *others = _drive(SIMULTANEOUS, question)
    assert control == "hi", "where a SYN may leave, it is taken for an answer"
    assert set(others) == {"TimeoutError"}


MULTICAST = """
import json, socket, subprocess, sys, time

question = json.load(sys.stdin)
def run(*argv, **more):
    subprocess.run(argv, check=True, **more)
run("ip", "link", "set", "lo", "up")
run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
run("ip", "address", "add", "192.0.2.2/24", "dev", "near")
run("ip", "link", "set", "near", "up")
run("ip", "link", "set", "far", "up")
JOIN = (
    "import socket, sys, time\\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\\n"
    "group = socket.inet_aton(sys.argv[1]) + socket.inet_aton('192.0.2.2')\\n"
    "s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)\\n"
    "time.sleep(1.5)\\n"
)
heard = []
for rules, group in zip(question["rules"], ("239.82.69.84", "239.83.69.67")):
    run("nft", "-f", "-", input=rules, text=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sniffer:
        sniffer.bind(("far", 0))
        sniffer.settimeout(0.2)
        joined = subprocess.Popen(
            ["/usr/bin/python3", "-c", JOIN, group],
            user=question["uid"], group=question["uid"], extra_groups=[],
        )
        packets = []
        while joined.poll() is None:
            try:
                packets.append(sniffer.recv(2048))
            except TimeoutError:
                pass
        assert joined.returncode == 0
    heard.append(any(socket.inet_aton(group) in packet for packet in packets))
print(json.dumps(heard))
"""


@pytest.mark.needs_root
def test_joining_a_group_tells_the_network_nothing() -> None:
    _need_namespaces()
    question = {"rules": ["", _rules()], "uid": PM["uid"]}
    assert _drive(MULTICAST, question) == [True, False], "without the rules, and with them"
