"""Promise: a loopback port belongs to its agent, and services' ports are not agents' to use."""

import json
from collections.abc import Sequence

import pytest

from agency import naming

POSTGRESQL = 5432
UNIT = "test-agency-listener.service"
FIREWALL = "nftables.service"
SERVE = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=int(sys.argv[2])) as server:
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

    def ask(users: Sequence[str], *ports: int, seconds: float = 10) -> list[list[str]]:
        text = "%s -I -c %s %s " + " ".join("%s" for _ in ports)
        said = run_each(users, text, python, ASK, str(seconds), *map(str, ports))
        return [list(json.loads(one).values()) for one in said]

    return ask


@pytest.fixture
def serve(host, until, python):
    """Has a user listen on a port, with room for so many who wait."""

    def serve(user: str, port: int, backlog: int = 16) -> None:
        text = "systemd-run --quiet --unit=%s --uid=%s %s -I -c %s %s %s"
        assert host.run(text, UNIT, user, python, SERVE, str(port), str(backlog)).rc == 0
        until(lambda: host.run("ss -Hltn 'sport = :%s'", str(port)).stdout != "")

    yield serve
    host.run("systemctl stop %s", UNIT)


@pytest.fixture(scope="module")
def free(agents, started, tell):
    """The port of the first agent, which does not run from here to the end of this file.

    The control plane stops it: one that starts again would start what systemd alone stopped.
    """
    tell("stop", started[0])
    yield agents[started[0]]
    tell("start", started[0])


@pytest.mark.claim("ports-on-loopback", "service-ports", disturbs=False)
def test_ports_are_on_loopback_alone(host, agents, control):
    active = [name for name in agents if host.service(naming.agent_unit(name)).is_running]
    listen = {naming.SERVICE_PORTS["synapse"], control["listen_port"]}
    listen |= {agents[name] for name in active}
    for port in (*listen, *agents.values(), POSTGRESQL):
        listening = host.run("ss -Hltn 'sport = :%s'", str(port)).stdout
        addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening.splitlines()}
        assert addresses <= {"127.0.0.1", "[::1]"}, port
        assert addresses or port not in listen, f"nothing listens on {port}"


@pytest.mark.claim("port-served", "own-port", disturbs=True, control=True)
def test_an_agent_serves_itself_and_the_control_plane(ask, agents, running):
    mine, _ = running
    users = (naming.agent_user(mine), "agency-control", "root")
    assert ask(users, agents[mine]) == [["answered"]] * 3


@pytest.mark.claim("port-closed-to-others", "own-port", disturbs=True)
def test_others_cannot_connect_to_an_agent(ask, agents, running):
    mine, other = running
    users = (naming.agent_user(other), "nobody", "matrix-synapse")
    assert ask(users, agents[mine]) == [["ConnectionRefusedError"]] * 3


@pytest.mark.claim("services-closed-to-agents", "service-ports", disturbs=True)
def test_services_are_not_the_agents_to_use(ask, running, control):
    ports = (naming.SERVICE_PORTS["synapse"], control["listen_port"])
    agents = [naming.agent_user(name) for name in running]
    # "No route to host" is what the rules say; a port where nobody listens says something else. Of
    # the control plane's they say to everybody that nobody listens.
    said = ["OSError", "ConnectionRefusedError", "OSError"]
    # One with a program has an account in rooms, and the homeserver for it.
    working = {each["name"] for each in control["agents"] if each.get("program")}
    wanted = [["answered", *said[1:]] if name in working else said for name in running]
    assert ask(agents, *ports, POSTGRESQL) == wanted
    assert ask(["agency-control"], *ports) == [["answered"] * 2], "others may"
    assert ask(["root"], POSTGRESQL)[0][0] in ("ConnectionRefusedError", "closed")


@pytest.mark.claim("database-closed", "service-ports", disturbs=True)
def test_an_agent_has_no_way_into_the_database(pair, run_as):
    there = "psql -h /run/postgresql -Atc 'select 1' postgres"
    assert run_as("postgres", there).stdout == "1\n"
    agent = naming.agent_user(pair[0])
    for role in ("postgres", "matrix-synapse", agent):
        done = run_as(agent, "psql -h /run/postgresql -U %s -Atc 'select 1' postgres", role)
        assert done.rc != 0, role


@pytest.mark.claim("runs-behind-firewall", "firewall-first", disturbs=True, control=True)
def test_with_the_firewall_it_runs_and_a_reload_does_not_end_it(host, running):
    unit = naming.agent_unit(running[0])

    def pid() -> str:
        return host.run("systemctl show --value -p MainPID %s", unit).stdout.strip()

    before = pid()
    assert before != "0"
    assert host.run(f"systemctl reload {FIREWALL}").rc == 0
    assert pid() == before
    # Whoever starts an agent starts the firewall with it.
    assert FIREWALL in host.run("systemctl show --value -p Requires %s", unit).stdout.split()


BEHIND_FIREWALL = ("agency-control.service", "matrix-synapse.service")
# Of a guest that has it: it sends a token, too.
PERHAPS_BEHIND = "alertmanager.service"
# Who asks at the control plane's socket starts it, and with it the firewall. In a guest where they
# do, the socket ends first.
ASKING = "prometheus.service prometheus-blackbox-exporter.service"


@pytest.fixture(scope="class")
def broken_firewall(host, started, until):
    """Leaves the machine without its firewall, which cannot be started; who ran runs in the end."""
    needing = f"'agency-agent*@*.service' agency-control.socket {' '.join(BEHIND_FIREWALL)}"
    needing += f" {PERHAPS_BEHIND} {ASKING}"
    listed = host.run(f"systemctl list-units --plain --no-legend {needing}").stdout
    ran = " ".join(line.split()[0] for line in listed.splitlines() if " active " in line)
    place = f"/run/systemd/system/{FIREWALL}.d"
    fails = "[Service]\nExecStart=\nExecStart=/bin/false\n"
    try:
        assert host.run(f"mkdir -p {place} && printf '{fails}' > {place}/test.conf").rc == 0
        asking = " ".join(unit for unit in ASKING.split() if unit in listed)
        ending = f"{asking} agency-control.socket" if asking else ""
        assert host.run("systemctl daemon-reload").rc == 0
        # The control plane may ask for an agent, and with it for the firewall, at the same moment:
        # systemd then takes back the older of the two.
        until(lambda: host.run(f"systemctl stop {ending} {FIREWALL}").rc == 0)
        yield ran.split()
    finally:
        # Whoever was started often in a short time is refused otherwise.
        again = f"systemctl reset-failed {FIREWALL} {ran}"
        host.run(f"rm -r {place}; systemctl daemon-reload; {again}")
        begun = host.run(f"systemctl start {FIREWALL} {ran}")
        assert begun.rc == 0, begun.stderr


class TestWithoutTheFirewall:
    """Without it once for both: it ends the homeserver, which takes long to come back."""

    @pytest.mark.claim("no-run-without-firewall", "firewall-first", disturbs=True)
    def test_an_agent_does_not_run_without_the_firewall(self, host, started, broken_firewall):
        """It stops with it, and is refused while that cannot be started."""
        unit = naming.agent_unit(started[0])
        assert unit in broken_firewall
        assert host.run("systemctl is-active %s", unit).stdout == "inactive\n"
        assert "dependency" in host.run("systemctl start %s", unit).stderr
        assert host.run("systemctl is-active %s", unit).stdout == "inactive\n"

    @pytest.mark.claim("no-tokens-without-firewall", "firewall-first", disturbs=True)
    def test_who_sends_tokens_does_not_run_without_the_firewall(self, host, broken_firewall):
        """Without it, whoever takes their ports would be sent the tokens."""
        perhaps = {PERHAPS_BEHIND} & {*broken_firewall}
        for unit in (*BEHIND_FIREWALL, *perhaps):
            assert unit in broken_firewall
            assert host.run("systemctl is-active %s", unit).stdout == "inactive\n"
            assert "dependency" in host.run("systemctl start %s", unit).stderr


@pytest.mark.claim("port-taken-unheard", "own-port", disturbs=True)
def test_who_takes_an_agents_port_is_heard_by_nobody(serve, ask, started, free):
    mine, other = started
    serve(naming.agent_user(other), free)
    users = ("agency-control", naming.agent_user(mine), naming.agent_user(other))
    unheard = {"TimeoutError", "ConnectionRefusedError"}
    assert all({*answers} <= unheard for answers in ask(users, free, seconds=0.5))


@pytest.mark.claim("port-owner-heard", "own-port", disturbs=True, control=True)
def test_its_owner_is_heard_on_the_same_port(serve, ask, started, free):
    serve(naming.agent_user(started[0]), free)
    assert ask(["agency-control"], free) == [["answered"]]


@pytest.fixture
def unused(host) -> int:
    """A port of a service that this machine does not have."""
    # These two start again while other tests run, and then nobody listens for a moment.
    own = {naming.SERVICE_PORTS["synapse"], naming.SERVICE_PORTS["control"]}
    listening = host.run("ss -Hltn").stdout
    ports = (port for port in naming.SERVICE_PORTS.values() if port not in own)
    return next(port for port in ports if f":{port} " not in listening)


CLIENTS = ("agency-control", "root", "nobody")


@pytest.mark.claim("service-port-taken-unheard", "service-ports", disturbs=True)
def test_who_takes_a_services_port_is_heard_by_nobody(serve, ask, started, unused):
    serve(naming.agent_user(started[0]), unused)
    assert ask(CLIENTS, unused, seconds=0.5) == [["TimeoutError"]] * 3


@pytest.mark.claim("service-port-of-others", "service-ports", disturbs=True, control=True)
def test_others_may_serve_there(serve, ask, unused):
    serve("nobody", unused)
    assert ask(CLIENTS, unused) == [["answered"]] * 3


MANY = ["agency-control"] * 6


@pytest.mark.claim("port-flooded-unheard", "own-port", disturbs=True)
@pytest.mark.parametrize("whose", ["a service's", "another agent's"])
def test_not_even_when_more_ask_than_it_lets_wait(serve, ask, started, free, unused, whose):
    """The kernel then answers for a listener without its user's name (SYN cookies).

    Who is not answered tries again after a second; that is waited for.
    """
    port = unused if whose == "a service's" else free
    serve(naming.agent_user(started[1]), port, backlog=0)
    assert ask(MANY, port, seconds=1.2) == [["TimeoutError"]] * len(MANY)


@pytest.mark.claim("port-flooded-of-others", "service-ports", disturbs=True, control=True)
def test_others_are_heard_when_many_ask(serve, ask, unused):
    serve("nobody", unused, backlog=0)
    assert ask(MANY, unused) == [["answered"]] * len(MANY)


CONTROL, HOMESERVER = "agency-control", "matrix-synapse"
# Who must stop for the port to be free, and who serves there.
HELD = {
    "synapse": (("matrix-synapse.service",), HOMESERVER),
    "control": (("agency-control.socket", "agency-control.service"), CONTROL),
}
PEERS = (CONTROL, HOMESERVER, "root")


@pytest.fixture(scope="class", params=sorted(HELD))
def vacant(request, host, until):
    """The port of a service that does not run meanwhile, nor what holds the port for it."""
    units, owner = HELD[request.param]
    port = naming.SERVICE_PORTS[request.param]

    def listens() -> bool:
        return host.run("ss -Hltn 'sport = :%s'", str(port)).stdout != ""

    names = " ".join(units)
    assert host.run(f"systemctl stop {names}").rc == 0
    try:
        until(lambda: not listens())
        yield port, owner
    finally:
        host.run("systemctl stop %s", UNIT)
        until(lambda: not listens())
        assert host.run(f"systemctl start {names}").rc == 0
        until(listens)


class TestPortOfAServiceThatIsAway:
    """Away once for both: the homeserver takes long to come back."""

    @pytest.mark.claim("service-impostor-unheard", "service-owners", disturbs=True)
    def test_nobody_answers_for_a_service(self, serve, ask, vacant):
        """Not a user who is neither agent nor root: who sends a token there is unheard."""
        port, _ = vacant
        serve("nobody", port)
        assert ask(PEERS, port, seconds=0.7) == [["TimeoutError"]] * len(PEERS)

    @pytest.mark.claim("service-owner-heard", "service-owners", disturbs=True, control=True)
    def test_its_owner_answers_on_a_services_port(self, serve, ask, vacant):
        port, owner = vacant
        serve(owner, port)
        assert ask(PEERS, port) == [["answered"]] * len(PEERS)


@pytest.mark.claim("control-plane-closed", "service-owners", disturbs=True)
def test_strangers_cannot_connect_to_the_control_plane(ask, control):
    assert ask(["nobody", "postgres"], control["listen_port"]) == [["ConnectionRefusedError"]] * 2


@pytest.mark.claim("control-plane-open-to-peers", "service-owners", disturbs=True, control=True)
def test_its_peers_connect_to_the_control_plane(ask, control):
    assert ask(PEERS, control["listen_port"]) == [["answered"]] * len(PEERS)


# Tries to have a port until it has it, or for so long.
TAKE = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            server.bind(("127.0.0.1", int(sys.argv[1])))
            server.listen()
        except OSError:
            continue
        print("taken")
        break
else:
    print("never free")
"""


@pytest.mark.claim("control-port-never-free", "service-owners", disturbs=True)
def test_the_control_planes_port_is_never_free(host, run_as, until, python, control):
    """Not while it restarts: systemd holds it."""
    unit, port = "agency-control.service", str(control["listen_port"])

    def pid() -> str:
        return host.run("systemctl show --value -p MainPID %s", unit).stdout.strip()

    before = pid()
    assert before != "0"
    assert host.run("systemctl kill --kill-who=main --signal=KILL %s", unit).rc == 0
    assert run_as("nobody", "%s -I -c %s %s 3", python, TAKE, port).stdout == "never free\n"
    until(lambda: pid() not in ("0", before))


@pytest.mark.claim("free-port-taken", "service-owners", disturbs=True, control=True)
def test_a_free_port_is_taken_at_once(run_as, python, unused):
    assert run_as("nobody", "%s -I -c %s %s 3", python, TAKE, str(unused)).stdout == "taken\n"
