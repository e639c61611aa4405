"""What an agent may reach outside: nothing but what is declared for it.

A second network namespace is the outside, so that it can be shown on a machine without a network.
"""

import pytest

from agency import naming

pytestmark = pytest.mark.disturbs

OUTSIDE = "192.0.2.1"
PORT = 4443
SERVE = (
    "import socket\n"
    f"with socket.create_server(('{OUTSIDE}', {PORT})) as s:\n"
    "    while True:\n"
    "        c, _ = s.accept(); c.sendall(b'outside'); c.close()\n"
)
ASK = (
    f"import socket; c = socket.create_connection(('{OUTSIDE}', {PORT}), 3); "
    "print(c.recv(9).decode())"
)
UNIT = "agency-test-outside.service"


@pytest.fixture(scope="module")
def outside(host, until):
    """A server in a namespace of its own, joined with this machine by a pair of interfaces."""
    if host.run("ip netns add agency-test").rc != 0:
        pytest.skip("this machine allows no network namespaces")
    try:
        for command in (
            "ip link add agency-test0 type veth peer name agency-test1 netns agency-test",
            "ip address add 192.0.2.2/24 dev agency-test0",
            "ip link set agency-test0 up",
            f"ip -n agency-test address add {OUTSIDE}/24 dev agency-test1",
            "ip -n agency-test link set agency-test1 up",
        ):
            done = host.run(command)
            assert done.rc == 0, done.stderr
        host.run(
            "systemd-run --unit=%s -p NetworkNamespacePath=/run/netns/agency-test python3 -c %s",
            *(UNIT, SERVE),
        )
        until(lambda: host.run("python3 -c %s", ASK).rc == 0)
        yield
    finally:
        host.run("systemctl stop %s", UNIT)
        host.run("ip link delete agency-test0")
        host.run("ip netns delete agency-test")


@pytest.fixture
def declared(host, pair):
    """Declares the outside for the first agent, as its firewall rules would."""
    uid = host.user(naming.agent_user(pair[0])).uid
    # With the prefix: nft 1.0 finds the element again only when it was written as an interval.
    element = f"{{ {uid} . {OUTSIDE}/32 . tcp . {PORT} }}"
    change = "nft %s element inet agency-agents agent_egress4 %s"
    assert host.run(change, "add", element).rc == 0
    yield
    assert host.run(change, "delete", element).rc == 0, "the rule of this test stays behind"


def test_undeclared_egress_is_refused(outside, run_as, pair):
    for name in pair:
        done = run_as(naming.agent_user(name), "python3 -c %s", ASK)
        assert done.rc != 0
        assert "outside" not in done.stdout


def test_who_is_no_agent_gets_out(outside, host):
    assert host.run("python3 -c %s", ASK).stdout == "outside\n"


def test_declared_egress_passes_for_its_agent_alone(outside, declared, run_as, pair):
    first, second = (naming.agent_user(name) for name in pair)
    assert run_as(first, "python3 -c %s", ASK).stdout == "outside\n"
    assert run_as(second, "python3 -c %s", ASK).rc != 0
