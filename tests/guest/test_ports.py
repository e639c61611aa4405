"""Promise: a loopback port belongs to its agent, and services' ports are not agents' to use."""

import json
from collections.abc import Sequence

import pytest

from agency import naming

POSTGRESQL = 5432
UNIT = "test-agency-listener.service"
SERVE = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        connection, _ = server.accept()
        connection.sendall(b"hello")
        connection.close()
"""
# What a dropped answer costs is waiting: all ports at once. Others answer or refuse sooner.
ASK = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def ask(port):
    try:
        with socket.create_connection(("127.0.0.1", int(port)), float(sys.argv[1])) as connection:
            connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return "answered" if connection.recv(9) else "closed"
    except OSError as error:
        return type(error).__name__
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(sys.argv[2:], pool.map(ask, sys.argv[2:])))))
"""


@pytest.fixture(scope="module")
def ask(run_each, python):
    """What comes of connecting to ports, for each user: "answered", "closed", or the error."""

    def ask(users: Sequence[str], *ports: int, seconds: int = 10) -> list[list[str]]:
        text = "%s -I -c %s %s " + " ".join("%s" for _ in ports)
        said = run_each(users, text, python, ASK, str(seconds), *map(str, ports))
        return [list(json.loads(one).values()) for one in said]

    return ask


@pytest.fixture
def serve(host, until, python):
    """Has a user listen on a port."""

    def serve(user: str, port: int) -> None:
        text = "systemd-run --quiet --unit=%s --uid=%s %s -I -c %s %s"
        assert host.run(text, UNIT, user, python, SERVE, str(port)).rc == 0
        until(lambda: host.run("ss -Hltn 'sport = :%s'", str(port)).stdout != "")

    yield serve
    host.run("systemctl stop %s", UNIT)


@pytest.fixture(scope="module")
def free(host, agents, started):
    """The port of the first agent, which does not run from here to the end of this file."""
    unit = naming.agent_unit(started[0])
    assert host.run("systemctl stop %s", unit).rc == 0
    yield agents[started[0]]
    assert host.run("systemctl start %s", unit).rc == 0


def test_ports_are_on_loopback_alone(host, agents, control):
    ports = [*agents.values(), naming.SERVICE_PORTS["synapse"], control["listen_port"], POSTGRESQL]
    for port in ports:
        listening = host.run("ss -Hltn 'sport = :%s'", str(port)).stdout
        addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening.splitlines()}
        assert addresses <= {"127.0.0.1", "[::1]"}, port
    synapse = host.run("ss -Hltn 'sport = :%s'", str(naming.SERVICE_PORTS["synapse"]))
    assert synapse.stdout, "the test can tell that something listens"


@pytest.mark.disturbs
def test_an_agent_serves_itself_and_the_control_plane(ask, agents, running):
    mine, _ = running
    users = (naming.agent_user(mine), "agency-control", "root")
    assert ask(users, agents[mine]) == [["answered"]] * 3


@pytest.mark.disturbs
def test_others_cannot_connect_to_an_agent(ask, agents, running):
    mine, other = running
    users = (naming.agent_user(other), "nobody", "matrix-synapse")
    assert ask(users, agents[mine]) == [["ConnectionRefusedError"]] * 3


@pytest.mark.disturbs
def test_services_are_not_the_agents_to_use(ask, running, control):
    ports = (naming.SERVICE_PORTS["synapse"], control["listen_port"])
    for answers in ask([naming.agent_user(name) for name in running], *ports, POSTGRESQL):
        assert "answered" not in answers
    assert ask(["agency-control"], *ports) == [["answered"] * 2], "others may"


@pytest.mark.disturbs
def test_an_agent_has_no_way_into_the_database(pair, run_as):
    there = "psql -h /run/postgresql -Atc 'select 1' postgres"
    assert run_as("postgres", there).stdout == "1\n"
    agent = naming.agent_user(pair[0])
    for role in ("postgres", "matrix-synapse", agent):
        done = run_as(agent, "psql -h /run/postgresql -U %s -Atc 'select 1' postgres", role)
        assert done.rc != 0, role


@pytest.mark.disturbs
def test_who_takes_an_agents_port_is_heard_by_nobody(serve, ask, started, free):
    mine, other = started
    serve(naming.agent_user(other), free)
    users = ("agency-control", naming.agent_user(mine), naming.agent_user(other))
    unheard = {"TimeoutError", "ConnectionRefusedError"}
    assert all({*answers} <= unheard for answers in ask(users, free, seconds=1))


@pytest.mark.disturbs
def test_its_owner_is_heard_on_the_same_port(serve, ask, started, free):
    serve(naming.agent_user(started[0]), free)
    assert ask(["agency-control"], free) == [["answered"]]
