"""Promise: an agent reaches nothing outside but what is declared for it.

A second network namespace is the outside, so that it can be shown on a machine without a network.
"""

import json

import pytest

from agency import naming

NAMESPACE, NEAR, FAR = "test-agency", "test-agency0", "test-agency1"
UNIT = "test-agency-outside.service"
V4, V4_OTHER, V6 = "192.0.2.1", "192.0.2.3", "2001:db8:7e57::1"
V6_NEAR = "2001:db8:7e57::2"
TCP, UDP, ELSE = 4443, 4444, 4445
LINK = (
    f"ip link add {NEAR} type veth peer name {FAR} netns {NAMESPACE}",
    f"ip address add 192.0.2.2/24 dev {NEAR}",
    f"ip address add {V6_NEAR}/64 dev {NEAR} nodad",
    f"ip link set {NEAR} up",
    f"ip -n {NAMESPACE} address add {V4}/24 dev {FAR}",
    f"ip -n {NAMESPACE} address add {V4_OTHER}/24 dev {FAR}",
    f"ip -n {NAMESPACE} address add {V6}/64 dev {FAR} nodad",
    f"ip -n {NAMESPACE} link set {FAR} up",
)
CLEAR = (
    f"systemctl stop {UNIT}; systemctl reset-failed {UNIT}; "
    f"ip link delete {NEAR}; ip netns delete {NAMESPACE}"
)
TARGETS = {
    "tcp4": ("tcp", V4, TCP),
    "tcp6": ("tcp", V6, TCP),
    "udp4": ("udp", V4, UDP),
    "udp6": ("udp", V6, UDP),
    "other port": ("tcp", V4, ELSE),
    "other address": ("tcp", V4_OTHER, TCP),
}
SERVE = """
import socket, sys, threading
def bound(family, kind, port):
    server = socket.socket(family, kind)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    return server
def tcp(family, port):
    server = bound(family, socket.SOCK_STREAM, port)
    server.listen(16)
    while True:
        connection, _ = server.accept()
        connection.sendall(b"outside")
        connection.close()
def udp(family, port):
    server = bound(family, socket.SOCK_DGRAM, port)
    while True:
        server.sendto(b"outside", server.recvfrom(16)[1])
for family in (socket.AF_INET, socket.AF_INET6):
    for serve, port in zip((tcp, udp, tcp), map(int, sys.argv[1:])):
        threading.Thread(target=serve, args=(family, port)).start()
"""
# TCP learns of a refusal by ICMP only when it tries again, a second later, but for the error queue,
# which ends the wait at once; whether there is a connection then, its peer's name tells.
ASK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def ask(target):
    kind, address, port = target
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    way = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    errors = (socket.IPPROTO_IPV6, 25) if ":" in address else (socket.IPPROTO_IP, 11)
    try:
        with socket.socket(family, way) as connection:
            connection.setsockopt(*errors, 1)
            connection.settimeout(10)
            connection.connect((address, port))
            connection.getpeername()
            if kind == "udp":
                connection.send(b"hello")
            return connection.recv(16).decode()
    except OSError as error:
        return type(error).__name__
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(targets, pool.map(ask, targets.values())))))
"""
# An agent has no raw socket. Here its user is given one, so that it is the rules that refuse.
NET_RAW = "--inh-caps=+net_raw --ambient-caps=+net_raw"
ICMPV6 = {
    "echo request": 128,
    "router solicitation": 133,
    "router advertisement": 134,
    "neighbour solicitation": 135,
    "neighbour advertisement": 136,
    "redirect": 137,
    "multicast report": 143,
}
SEND = """
import json, os, socket, sys
results = {}
for what, kind in json.loads(sys.argv[2]).items():
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        try:
            # An identifier that nobody used: an answer to another's request may pass.
            raw.sendto(bytes((kind, 0, 0, 0)) + os.urandom(4) + bytes(16), (sys.argv[1], 0))
        except PermissionError:
            results[what] = "refused"
        else:
            results[what] = "sent"
print(json.dumps(results))
"""
NOWHERE = dict.fromkeys(TARGETS, "refused")
EVERYWHERE = dict.fromkeys(TARGETS, "outside")


@pytest.fixture(scope="module")
def ask(run_each, python):
    """What each target answers each user: "outside", or "refused" where nothing came of it."""

    def ask(*users: str) -> list[dict[str, str]]:
        said = run_each(users, "%s -I -c %s %s", python, ASK, json.dumps(TARGETS))
        return [
            {what: "outside" if one == "outside" else "refused" for what, one in answers.items()}
            for answers in map(json.loads, said)
        ]

    return ask


@pytest.fixture(scope="module")
def outside(host, until, python):
    """Servers in a namespace of their own, joined with this machine by a pair of interfaces."""
    host.run(CLEAR)  # of a suite that was killed
    made = host.run("ip netns add %s", NAMESPACE)
    if made.rc != 0 and "Operation not permitted" in made.stderr:
        host.run(CLEAR)
        pytest.skip("this machine allows no network namespaces")
    try:
        assert made.rc == 0, made.stderr
        done = host.run(" && ".join(LINK))
        assert done.rc == 0, done.stderr
        start = "systemd-run --quiet --unit=%s -p NetworkNamespacePath=/run/netns/%s %s -I -c %s "
        ports = f"{TCP} {UDP} {ELSE}"
        assert host.run(start + ports, UNIT, NAMESPACE, python, SERVE).rc == 0
        listening = f"ip netns exec {NAMESPACE} ss -Hlntu"
        until(lambda: len(host.run(listening).stdout.splitlines()) == 2 * 3)
        yield
    finally:
        host.run(CLEAR)


@pytest.fixture
def declared(host, pair):
    """Declares some of the outside for the first agent, as its firewall rules would."""
    uid = host.user(naming.agent_user(pair[0])).uid
    # With the prefix: nft 1.0 finds the element again only when it was written as an interval.
    elements = (
        ("agent_egress4", f"{{ {uid} . {V4}/32 . tcp . {TCP} }}"),
        ("agent_egress4", f"{{ {uid} . {V4}/32 . udp . {UDP} }}"),
        ("agent_egress6", f"{{ {uid} . {V6}/128 . tcp . {TCP} }}"),
    )

    def change(how: str) -> int:
        each = (f"{how} element inet agency-agents {place} {one}" for place, one in elements)
        return int(host.run("nft %s", "; ".join(each)).rc)

    assert change("add") == 0
    yield {"tcp4", "udp4", "tcp6"}
    assert change("delete") == 0, "a rule of this test stays"


def test_every_agent_is_in_the_firewalls_table(host, agents):
    table = host.run("nft list table inet agency-agents").stdout
    assert "hook output" in table
    for name in agents:
        assert str(host.user(naming.agent_user(name)).uid) in table
    assert host.run("nft list table inet no-such-table").rc != 0


@pytest.mark.disturbs
def test_undeclared_egress_is_refused(outside, ask, pair):
    assert ask(*map(naming.agent_user, pair)) == [NOWHERE, NOWHERE]


@pytest.mark.disturbs
def test_who_is_no_agent_gets_out(outside, ask):
    assert ask("root", "nobody") == [EVERYWHERE, EVERYWHERE]


@pytest.mark.disturbs
def test_declared_egress_passes_for_its_agent_alone(outside, declared, ask, pair):
    wanted = {what: "outside" if what in declared else "refused" for what in TARGETS}
    assert ask(*map(naming.agent_user, pair)) == [wanted, NOWHERE]


@pytest.mark.disturbs
def test_the_rules_let_ipv6_neighbours_be_found(outside, host, ask):
    """By the kernel, whose packets belong to nobody; it must ask again here."""
    assert host.run(f"ip -6 neighbour flush dev {NEAR}").rc == 0
    assert ask("root")[0]["tcp6"] == "outside"


@pytest.mark.disturbs
def test_no_icmpv6_leaves(outside, run_as, python, pair):
    """Of an agent, even of one that could make such packets; root's control shows that they go."""

    def sent(user: str) -> dict[str, str]:
        asked = (python, SEND, V6, json.dumps(ICMPV6))
        done = run_as(user, "%s -I -c %s %s %s", *asked, options=NET_RAW)
        assert done.rc == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    assert sent("root") == dict.fromkeys(ICMPV6, "sent")
    for name in pair:
        assert sent(naming.agent_user(name)) == dict.fromkeys(ICMPV6, "refused")
