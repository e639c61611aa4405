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
MAC_NEAR, MAC_FAR = "02:00:00:00:7e:57", "02:00:00:00:7e:58"
MAKE_LINK = (
    f"ip link add {NEAR} address {MAC_NEAR} type veth"
    f" peer name {FAR} address {MAC_FAR} netns {NAMESPACE}"
)
KNOW_FAR = f"ip -6 neighbour replace {V6} dev {NEAR} lladdr {MAC_FAR} nud permanent"
KNOW_NEAR = f"-6 neighbour replace {V6_NEAR} dev {FAR} lladdr {MAC_NEAR} nud permanent"
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
ASK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def ask(target):
    kind, address, port = target
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    way = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family, way) as connection:
            connection.settimeout(1)
            connection.connect((address, port))
            if kind == "udp":
                connection.send(b"hello")
            return connection.recv(16).decode()
    except OSError as error:
        return type(error).__name__
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(targets, pool.map(ask, targets.values())))))
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
def outside(host, until, python, ask):
    """Servers in a namespace of their own, joined with this machine by a pair of interfaces."""
    if host.run("ip netns add %s", NAMESPACE).rc != 0:
        pytest.skip("this machine allows no network namespaces")
    try:
        for command in (
            MAKE_LINK,
            f"ip address add 192.0.2.2/24 dev {NEAR}",
            f"ip address add {V6_NEAR}/64 dev {NEAR} nodad",
            f"ip link set {NEAR} up",
            f"ip -n {NAMESPACE} address add {V4}/24 dev {FAR}",
            f"ip -n {NAMESPACE} address add {V4_OTHER}/24 dev {FAR}",
            f"ip -n {NAMESPACE} address add {V6}/64 dev {FAR} nodad",
            f"ip -n {NAMESPACE} link set {FAR} up",
            # So that what is tried with IPv6 is the rules, not how neighbours are found.
            KNOW_FAR,
            f"ip -n {NAMESPACE} {KNOW_NEAR}",
        ):
            done = host.run(command)
            assert done.rc == 0, done.stderr
        start = "systemd-run --quiet --unit=%s -p NetworkNamespacePath=/run/netns/%s %s -I -c %s "
        ports = f"{TCP} {UDP} {ELSE}"
        assert host.run(start + ports, UNIT, NAMESPACE, python, SERVE).rc == 0
        until(lambda: ask("root") == [EVERYWHERE])
        yield
    finally:
        host.run("systemctl stop %s", UNIT)
        host.run("ip link delete %s", NEAR)
        host.run("ip netns delete %s", NAMESPACE)


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
    change = "nft %s element inet agency-agents %s %s"
    for place, element in elements:
        assert host.run(change, "add", place, element).rc == 0
    yield {"tcp4", "udp4", "tcp6"}
    for place, element in elements:
        assert host.run(change, "delete", place, element).rc == 0, "a rule of this test stays"


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
@pytest.mark.xfail(
    strict=True,
    reason="the rules refuse packets of no socket, and with them the kernel's own neighbour"
    " solicitations: on a machine with agents, IPv6 reaches no neighbour",
)
def test_the_rules_let_ipv6_neighbours_be_found(outside, host, ask):
    host.run(f"ip -6 neighbour delete {V6} dev {NEAR}")
    try:
        assert ask("root")[0]["tcp6"] == "outside"
    finally:
        host.run(KNOW_FAR)
