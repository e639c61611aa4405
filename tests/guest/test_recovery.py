"""Promise: what is killed comes back by itself, and nothing that was kept is lost.

Everything is killed at once, each program by SIGKILL; a reboot of the whole machine is the
spin-up's own to show.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from agency import naming

SERVICES = ("postgresql.service", "matrix-synapse.service", "agency-control.service")
AUDIT = "agency-audit.service"


def log_of(agent: str) -> str:
    return f"/var/log/agency-agents/{agent}.jsonl"


FACTS = """
import json, subprocess, sys, urllib.parse, urllib.request
config = json.load(open("/etc/agency/control.json"))
token = open("/run/secrets/matrix-as-token").read().strip()
def get(path):
    request = urllib.request.Request(config["homeserver_url"] + path)
    request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
client = "/_matrix/client/v3"
room = get(client + "/directory/room/" + urllib.parse.quote(config["control_room_alias"]))
events = get(client + "/rooms/" + urllib.parse.quote(room["room_id"]) + "/state")
def audit(what):
    argv = [sys.argv[1], "audit", what, "--config", "/etc/agency/control.json", "--json"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE)
verified, exported = audit("verify"), audit("export")
ok, rows = (json.loads(child.communicate(timeout=30)[0]) for child in (verified, exported))
print(json.dumps({
    "room": room["room_id"],
    "state": sorted(event["event_id"] for event in events),
    "audit_ok": ok["ok"],
    "rows": rows,
}))
"""

# Prints the first line of what a port answers.
ANSWER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as connection:
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(connection.recv(4096).decode().splitlines()[0])
"""


@pytest.fixture(scope="session")
def facts(host, python, agency_script):
    """What is kept: the control room, its state, every row of the audit log. None: not yet."""

    def facts() -> dict | None:
        done = host.run("%s -I -c %s %s", python, FACTS, agency_script)
        return json.loads(done.stdout) if done.rc == 0 else None

    return facts


def shown(host, units: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The main pid and the state of each unit."""
    text = "systemctl show -p MainPID -p ActiveState " + " ".join(units)
    blocks = host.run(text).stdout.strip().split("\n\n")
    found = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
    return {
        unit: (one["MainPID"], one["ActiveState"]) for unit, one in zip(units, found, strict=True)
    }


@dataclass
class Struck:
    """What was killed, the pids before, and what was kept then."""

    units: list[str]
    pids: dict[str, str]  # of these, and of an agent that was not
    kept: dict
    log: str  # one agent's audit log
    last: str  # the hash of what was put there an instant before


@dataclass
class Killed:
    """The pids of units before and after, and what was kept then."""

    pids: dict[str, tuple[str, str]]
    kept: tuple[dict, dict]


@pytest.fixture(scope="session")
def struck(host, started, until, facts, run_as, agency_script) -> Struck:
    """Each service and one of two agents, killed at once."""
    # Its socket would start it when somebody has something to say.
    assert host.run("systemctl start %s", AUDIT).rc == 0
    units = [*SERVICES, AUDIT, naming.agent_unit(started[0])]
    kept: list[dict | None] = []
    until(lambda: kept.append(facts()) or kept[-1] is not None)
    now = shown(host, [*units, naming.agent_unit(started[1])])
    pids = {unit: pid for unit, (pid, _) in now.items()}
    assert "0" not in pids.values()
    log = host.file(log_of(started[0])).content_string
    user = naming.agent_user(started[0])
    record = run_as(user, "%s workspace audit record guest.killed --json", agency_script)
    assert host.run("kill -KILL " + " ".join(pids[unit] for unit in units)).rc == 0
    assert record.rc == 0, record.stderr
    return Struck(units, pids, kept[-1], log, json.loads(record.stdout)["hash"])


@pytest.fixture(scope="session")
def killed(host, struck, until, facts) -> Killed:
    """When all answer again."""

    def is_back() -> bool:
        now = shown(host, struck.pids)
        anew = all(now[unit][0] not in ("0", struck.pids[unit]) for unit in struck.units)
        return anew and all(state == "active" for _, state in now.values())

    until(is_back)
    later: list[dict | None] = []
    until(lambda: later.append(facts()) or later[-1] is not None)
    until(lambda: host.run("systemctl is-system-running").stdout.strip() == "running")
    now = shown(host, struck.pids)
    pids = {unit: (before, now[unit][0]) for unit, before in struck.pids.items()}
    return Killed(pids, (struck.kept, later[-1]))


@pytest.mark.claim("really-killed", "recovery", disturbs=True, control=True)
@pytest.mark.kills
def test_what_is_to_come_back_was_killed(host, struck, until):
    """What runs later is not what ran before."""
    before = [f"/proc/{struck.pids[unit]}" for unit in struck.units]
    until(lambda: host.run("ls -d " + " ".join(before)).stdout == "")
    (spared,) = struck.pids.keys() - {*struck.units}
    assert host.file(f"/proc/{struck.pids[spared]}").is_directory


@pytest.mark.claim("killed-service-back", "recovery", disturbs=True)
@pytest.mark.parametrize("unit", [*SERVICES, AUDIT])
def test_a_killed_service_comes_back(killed, unit):
    before, after = killed.pids[unit]
    assert after not in ("0", before)


@pytest.mark.claim("killed-agent-back", "recovery", disturbs=True)
def test_a_killed_agent_comes_back_and_answers(killed, running, agents, until, run_as, python):
    before, after = killed.pids[naming.agent_unit(running[0])]
    assert after not in ("0", before)
    port = str(agents[running[0]])

    def says(user: str) -> str:
        return run_as(user, "%s -I -c %s %s", python, ANSWER, port).stdout

    until(lambda: says("agency-control").startswith("HTTP/1.1 "))
    assert says("nobody") == "", "the test can tell"


@pytest.mark.claim("other-agent-unaffected", "recovery", disturbs=True)
def test_another_agent_does_not_notice(killed, running):
    before, after = killed.pids[naming.agent_unit(running[1])]
    assert after == before


@pytest.mark.claim("audit-socket-outlives", "recovery", disturbs=True)
def test_the_audit_socket_outlives_its_service(host, killed):
    assert host.run("systemctl show --value -p ActiveState agency-audit.socket").stdout == (
        "active\n"
    )
    assert host.file("/run/agency-audit.sock").is_socket


@pytest.mark.claim("agent-records-survive", "recovery", disturbs=True)
def test_what_an_agent_put_on_record_survives(host, killed, struck, started, run_as, agency_script):
    """All that was acknowledged, to the last; and the log says that it was opened again."""
    user = naming.agent_user(started[0])
    assert run_as(user, "%s workspace audit record guest.killed", agency_script).rc == 0
    kept = host.file(log_of(started[0])).content_string
    assert kept.startswith(struck.log)
    added = [json.loads(line) for line in kept[len(struck.log) :].splitlines()]
    hashes = [record["hash"] for record in added]
    events = [record["event"] for record in added]
    assert "log.opened" in events[hashes.index(struck.last) + 1 :]


@pytest.mark.claim("room-survives", "recovery", disturbs=True)
def test_the_room_and_its_state_survive(killed):
    before, after = killed.kept
    assert after["room"] == before["room"]
    assert before["state"], "the room has a state"
    assert {*before["state"]} <= {*after["state"]}


@pytest.mark.claim("audit-log-survives", "recovery", disturbs=True)
def test_the_audit_log_survives(killed):
    """Every row as it was, in its place; more may have been added."""
    before, after = killed.kept
    assert before["audit_ok"]
    assert after["audit_ok"]
    assert before["rows"], "there is a log to lose"
    assert after["rows"][: len(before["rows"])] == before["rows"]


@pytest.mark.claim("stopped-stays-down", "recovery", disturbs=True, control=True)
def test_a_stopped_service_stays_down(host, until):
    """The test can tell: killed, it comes back; stopped on purpose, it does not."""
    unit = "test-agency-restarted.service"

    def pid() -> str:
        return host.run("systemctl show --value -p MainPID %s", unit).stdout.strip()

    again = "systemd-run --quiet --unit=%s -p Restart=always -p RestartSec=0 sleep 60"
    assert host.run(again, unit).rc == 0
    try:
        before = pid()
        assert host.run("kill -KILL %s", before).rc == 0
        until(lambda: pid() not in ("0", before))
    finally:
        host.run("systemctl stop %s", unit)
    assert not host.service(unit).is_running
