"""Promise: an agent reaches nothing outside but what is declared for it.

A second network namespace is the outside, so that it can be shown on a machine without a network.
"""

import json

import pytest

from agency import naming

NAMESPACE, NEAR, FAR = "test-agency", "test-agency0", "test-agency1"
UNIT = "test-agency-outside.service"
V4, V4_OTHER, V6 = "192.0.2.1", "192.0.2.3", "2001:db8:7e57::1"
V4_NEAR, V6_NEAR = "192.0.2.2", "2001:db8:7e57::2"
TCP, UDP, ELSE, ECHO = 4443, 4444, 4445, 4446
SERVER_UNIT = "test-agency-server.service"
LINK = (
    f"ip link add {NEAR} type veth peer name {FAR} netns {NAMESPACE}",
    f"ip address add {V4_NEAR}/24 dev {NEAR}",
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
def echo(family, port):
    server = bound(family, socket.SOCK_STREAM, port)
    server.listen(16)
    while True:
        connection, _ = server.accept()
        while data := connection.recv(16):
            connection.sendall(data)
for family in (socket.AF_INET, socket.AF_INET6):
    for serve, port in zip((tcp, udp, tcp, echo), map(int, sys.argv[1:])):
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
            connection.settimeout(float(sys.argv[2]))
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
ICMPV4 = {
    "echo reply": 0,
    "destination unreachable": 3,
    "redirect": 5,
    "echo request": 8,
    "router solicitation": 10,
    "timestamp request": 13,
}
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
way = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
if ":" in sys.argv[1]:
    way = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
for what, kind in json.loads(sys.argv[2]).items():
    with socket.socket(*way) as raw:
        try:
            # An identifier that nobody used: an answer to another's request may pass.
            raw.sendto(bytes((kind, 0, 0, 0)) + os.urandom(4) + bytes(16), (sys.argv[1], 0))
        except PermissionError:
            results[what] = "refused"
        else:
            results[what] = "sent"
print(json.dumps(results))
"""
# A connection of an agent: its socket is made in the agent's name, the rules are root's to change.
KEEP = """
import json, os, socket, subprocess, sys
uid, address, port, element = sys.argv[1:]
def change(how):
    subprocess.run(["nft", f"{how} element inet agency-agents {element}"], check=True)
def is_heard():
    connection.sendall(b"hello")
    try:
        return connection.recv(16) != b""
    except TimeoutError:
        return False
change("add")
try:
    os.seteuid(int(uid))
    connection = socket.create_connection((address, int(port)), 10)
    os.seteuid(0)
    heard = [is_heard()]
    change("delete")
    connection.settimeout(0.5)
    heard.append(is_heard())
    change("add")
    connection.settimeout(30)
    heard.append(is_heard())
finally:
    os.seteuid(0)
    change("delete")
print(json.dumps(heard))
"""
# Joins a group as an agent and sends to another as root, while the outside hears every packet.
JOIN = """
import json, os, socket, subprocess, sys, time
uid, near, namespace = sys.argv[1:]
LISTEN = (
    "import socket, sys, time\\n"
    "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))\\n"
    "s.settimeout(0.2)\\n"
    "print('up', flush=True)\\n"
    "heard, end = set(), time.monotonic() + 2.5\\n"
    "while time.monotonic() < end:\\n"
    "    try:\\n"
    "        packet = s.recv(2048)\\n"
    "    except TimeoutError:\\n"
    "        continue\\n"
    "    heard |= {one for one in sys.argv[1:] if socket.inet_aton(one) in packet}\\n"
    "print(*heard)\\n"
)
mine, roots = "239.82.69.84", "239.83.69.67"
listener = subprocess.Popen(
    ["ip", "netns", "exec", namespace, sys.executable, "-I", "-c", LISTEN, mine, roots],
    stdout=subprocess.PIPE, text=True,
)
listener.stdout.readline()
os.seteuid(int(uid))
member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = socket.inet_aton(mine) + socket.inet_aton(near)
member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
os.seteuid(0)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(near))
    sender.sendto(b"hello", (roots, 9))
heard = listener.communicate()[0].split()
print(json.dumps({"joined": True, "root": roots in heard, "agent": mine in heard}))
"""
# Who looks names up for others, or passes on to who does.
DAEMONS = (
    "/run/dbus/system_bus_socket",
    "/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
)
STAND_IN_UNIT = "test-agency-stand-in.service"
# It hangs up at once: who looks a name up goes on by itself then, and waits for nobody.
STAND_IN = """
import os, socket, sys, threading
def serve(path):
    os.makedirs(os.path.dirname(path), 0o755)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(16)
    os.chmod(path, 0o777)
    while True:
        server.accept()[0].close()
for path in sys.argv[1:]:
    threading.Thread(target=serve, args=(path,)).start()
"""
REACH = """
import json, socket, sys
results = {}
for path in sys.argv[1:]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
        results[path] = "reached"
    except OSError:
        results[path] = "refused"
print(json.dumps(results))
"""
NOWHERE = dict.fromkeys(TARGETS, "refused")
EVERYWHERE = dict.fromkeys(TARGETS, "outside")


@pytest.fixture(scope="module")
def ask(run_each, python):
    """What each target answers each user: "outside", or "refused" where nothing came of it."""

    def ask(*users: str) -> list[dict[str, str]]:
        said = run_each(users, "%s -I -c %s %s 10", python, ASK, json.dumps(TARGETS))
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
        ports = f"{TCP} {UDP} {ELSE} {ECHO}"
        assert host.run(start + ports, UNIT, NAMESPACE, python, SERVE).rc == 0
        listening = f"ip netns exec {NAMESPACE} ss -Hlntu"
        until(lambda: len(host.run(listening).stdout.splitlines()) == 2 * 4)
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


@pytest.mark.claim("agents-in-firewall", "egress", disturbs=False)
def test_every_agent_is_in_the_firewalls_table(host, agents):
    table = host.run("nft list table inet agency-agents").stdout
    assert "hook output" in table
    for name in agents:
        assert str(host.user(naming.agent_user(name)).uid) in table
    assert host.run("nft list table inet no-such-table").rc != 0


@pytest.mark.claim("egress-undeclared", "egress", disturbs=True)
def test_undeclared_egress_is_refused(outside, ask, pair):
    assert ask(*map(naming.agent_user, pair)) == [NOWHERE, NOWHERE]


@pytest.mark.claim("egress-of-agents-gone", "egress", disturbs=True)
def test_a_uid_whose_agent_is_gone_gets_nothing_out(outside, host, python):
    """Its user may stay, and what it had started too."""
    uid = str(naming.agent_uid("agent-of-a-test-that-is-gone"))
    assert host.run("getent passwd %s", uid).rc != 0
    text = "cd / && setpriv --reuid=%s --regid=%s --clear-groups %s -I -c %s %s 10"
    answers = json.loads(host.run(text, uid, uid, python, ASK, json.dumps(TARGETS)).stdout)
    assert "outside" not in answers.values()
    assert {*answers} == {*TARGETS}


@pytest.mark.claim("egress-of-others", "egress", disturbs=True, control=True)
def test_who_is_no_agent_gets_out(outside, ask):
    assert ask("root", "nobody") == [EVERYWHERE, EVERYWHERE]


@pytest.mark.claim("egress-declared", "egress", disturbs=True, control=True)
def test_declared_egress_passes_for_its_agent_alone(outside, declared, ask, pair):
    wanted = {what: "outside" if what in declared else "refused" for what in TARGETS}
    assert ask(*map(naming.agent_user, pair)) == [wanted, NOWHERE]


@pytest.mark.claim("ipv6-neighbours", "egress", disturbs=True, control=True)
def test_the_rules_let_ipv6_neighbours_be_found(outside, host, ask):
    """By the kernel, whose packets belong to nobody; it must ask again here."""
    assert host.run(f"ip -6 neighbour flush dev {NEAR}").rc == 0
    assert ask("root")[0]["tcp6"] == "outside"


@pytest.fixture
def sent(run_as, python):
    """What becomes of kinds of ICMP that a user sends: "sent" or "refused"."""

    def sent(user: str, to: str, kinds: dict[str, int]) -> dict[str, str]:
        asked = (python, SEND, to, json.dumps(kinds))
        done = run_as(user, "%s -I -c %s %s %s", *asked, options=NET_RAW)
        assert done.rc == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return sent


@pytest.mark.claim("egress-icmpv6", "egress", disturbs=True)
def test_no_icmpv6_leaves(outside, sent, pair):
    """Of an agent, even of one that could make such packets; root's control shows that they go."""
    assert sent("root", V6, ICMPV6) == dict.fromkeys(ICMPV6, "sent")
    for name in pair:
        assert sent(naming.agent_user(name), V6, ICMPV6) == dict.fromkeys(ICMPV6, "refused")


@pytest.mark.claim("egress-icmpv4", "egress", disturbs=True)
def test_no_icmpv4_leaves(outside, sent, pair):
    assert sent("root", V4, ICMPV4) == dict.fromkeys(ICMPV4, "sent")
    for name in pair:
        assert sent(naming.agent_user(name), V4, ICMPV4) == dict.fromkeys(ICMPV4, "refused")


@pytest.mark.claim("egress-multicast", "egress", disturbs=True)
def test_joining_a_group_tells_the_outside_nothing(outside, host, python, pair):
    """The kernel sends the reports, in nobody's name; what root sends to the group is heard."""
    uid = str(host.user(naming.agent_user(pair[0])).uid)
    done = host.run("%s -I -c %s %s %s %s", python, JOIN, uid, V4_NEAR, NAMESPACE)
    assert done.rc == 0, done.stderr
    assert json.loads(done.stdout) == {"joined": True, "root": True, "agent": False}


@pytest.fixture
def asked_from_outside(outside, host, until, python):
    """What the outside hears from a server of a user that listens on every address."""

    def asked(user: str, seconds: float = 10) -> dict[str, str]:
        start = "systemd-run --quiet --unit=%s --uid=%s %s -I -c %s "
        ports = f"{TCP} {UDP} {ELSE} {ECHO}"
        assert host.run(start + ports, SERVER_UNIT, user, python, SERVE).rc == 0
        try:
            until(lambda: len(host.run(listening).stdout.splitlines()) == 2 * 4)
            text = f"ip netns exec {NAMESPACE} %s -I -c %s %s {seconds}"
            said = host.run(text, python, ASK, json.dumps(targets)).stdout
        finally:
            host.run("systemctl stop %s", SERVER_UNIT)
        answers = json.loads(said).items()
        return {what: one if one == "outside" else "unheard" for what, one in answers}

    listening = f"ss -Hlntu '( sport >= :{TCP} and sport <= :{ECHO} )'"
    targets = {
        f"{kind} {address}": (kind, address, port)
        for kind, port in (("tcp", TCP), ("udp", UDP))
        for address in (V4_NEAR, V6_NEAR)
    }
    return asked


@pytest.mark.claim("serving-unheard-outside", "egress", disturbs=True)
def test_the_outside_hears_no_agent_that_serves(asked_from_outside, pair):
    assert {*asked_from_outside(naming.agent_user(pair[0]), 0.7).values()} == {"unheard"}


@pytest.mark.claim("others-heard-outside", "egress", disturbs=True, control=True)
def test_the_outside_hears_others_that_serve(asked_from_outside):
    assert {*asked_from_outside("nobody").values()} == {"outside"}


@pytest.mark.claim("egress-withdrawn", "egress", disturbs=True)
def test_a_rule_that_is_withdrawn_ends_what_it_allowed(outside, host, python, pair):
    """A connection that was made before; with the rule there again, it goes on."""
    uid = host.user(naming.agent_user(pair[0])).uid
    for address, place, length in ((V4, "agent_egress4", 32), (V6, "agent_egress6", 128)):
        element = f"{place} {{ {uid} . {address}/{length} . tcp . {ECHO} }}"
        done = host.run(
            "%s -I -c %s %s %s %s %s", python, KEEP, str(uid), address, str(ECHO), element
        )
        assert done.rc == 0, done.stderr
        assert json.loads(done.stdout) == [True, False, True], address


@pytest.fixture(scope="module")
def daemons(host, python, until):
    """Those that look names up; where one does not run, another that listens in its place."""
    missing = [path for path in DAEMONS if not host.file(path).exists]
    # A directory of theirs that is there without its socket is not this test's to fill.
    missing = [path for path in missing if not host.file(path.rpartition("/")[0]).exists]
    if missing:
        text = "systemd-run --quiet --unit=%s %s -I -c %s " + " ".join(missing)
        assert host.run(text, STAND_IN_UNIT, python, STAND_IN).rc == 0
        until(lambda: all(host.file(path).exists for path in missing))
    yield [path for path in DAEMONS if host.file(path).exists]
    if missing:
        made = " ".join(path.rpartition("/")[0] for path in missing)
        host.run(f"systemctl stop {STAND_IN_UNIT}; rm -rf {made}")


@pytest.mark.claim("name-service", "no-name-service", disturbs=True)
def test_it_reaches_nobody_who_looks_names_up(daemons, inside, python, pair):
    text = "%s -I -c %s " + " ".join(daemons)
    assert json.loads(inside(pair[0], text, python, REACH).stdout) == dict.fromkeys(
        daemons, "refused"
    )


@pytest.mark.claim("name-service-outside-unit", "no-name-service", disturbs=True, control=True)
def test_outside_of_its_unit_it_would_reach_them(daemons, run_as, python, pair):
    text = "%s -I -c %s " + " ".join(daemons)
    said = run_as(naming.agent_user(pair[0]), text, python, REACH).stdout
    assert json.loads(said) == dict.fromkeys(daemons, "reached")
    assert "/run/dbus/system_bus_socket" in daemons
