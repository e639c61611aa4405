"""Loopback ports belong to their agent."""

import pytest

from agency import naming

pytestmark = pytest.mark.disturbs

SERVE = (
    "import socket,sys\n"
    "with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as s:\n"
    "    while True:\n"
    "        c, _ = s.accept(); c.sendall(b'hello'); c.close()\n"
)
ASK = (
    "import socket,sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 3); "
    "print(c.recv(9).decode())"
)


@pytest.fixture
def serve(host, until):
    """Has a user listen on a port."""
    unit = "agency-test-listener.service"

    def serve(user: str, port: int) -> None:
        host.run("systemd-run --unit=%s --uid=%s python3 -c %s %s", *(unit, user, SERVE, str(port)))
        until(lambda: str(port) in host.run("ss -Hltn 'sport = :%s'", str(port)).stdout)

    yield serve
    host.run("systemctl stop %s", unit)


@pytest.fixture
def free(host, agents, pair):
    """The port of the first agent, which must not run while a test listens there."""
    unit = naming.agent_unit(pair[0])
    if host.service(unit.removesuffix(".service")).is_running:
        pytest.skip(f"{unit} holds its port")
    return agents[pair[0]]


def test_its_owner_serves_itself_and_the_control_plane(serve, run_as, pair, free):
    serve(naming.agent_user(pair[0]), free)
    for user in (naming.agent_user(pair[0]), "agency-control"):
        assert run_as(user, "python3 -c %s %s", ASK, str(free)).stdout == "hello\n"


def test_another_agent_cannot_connect(serve, run_as, pair, free):
    serve(naming.agent_user(pair[0]), free)
    done = run_as(naming.agent_user(pair[1]), "python3 -c %s %s", ASK, str(free))
    assert done.rc != 0
    assert "hello" not in done.stdout


def test_another_agent_that_takes_the_port_is_heard_by_nobody(serve, run_as, pair, free):
    serve(naming.agent_user(pair[1]), free)
    for user in ("agency-control", naming.agent_user(pair[0]), naming.agent_user(pair[1])):
        done = run_as(user, "python3 -c %s %s", ASK, str(free))
        assert "hello" not in done.stdout, user
