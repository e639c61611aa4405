"""Promise: what is killed comes back by itself, and nothing that was kept is lost.

Everything is killed at once, each program by SIGKILL; a reboot of the whole machine is the
spin-up's own to show.
"""

import json
from dataclasses import dataclass

import pytest

from agency import naming

pytestmark = pytest.mark.disturbs

SERVICES = ("postgresql.service", "matrix-synapse.service", "agency-control.service")
AUDIT = "agency-audit.service"

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


@pytest.fixture(scope="module")
def facts(host, python):
    """What is kept: the control room, its state, every row of the audit log. None: not yet."""
    program = (
        "systemctl show --value -p ExecStart agency-control.service | "
        r"sed -n 's/.*path=\([^ ;]*\).*/\1/p'"
    )
    agency = host.run(program).stdout.strip()

    def facts() -> dict | None:
        done = host.run("%s -I -c %s %s", python, FACTS, agency)
        return json.loads(done.stdout) if done.rc == 0 else None

    return facts


@dataclass
class Killed:
    """The pids of units before and after, and what was kept then."""

    pids: dict[str, tuple[str, str]]
    kept: tuple[dict, dict]


@pytest.fixture(scope="module")
def killed(host, started, until, facts) -> Killed:
    """Each service and one of two agents, killed at once; returns when all answer again."""
    # Its socket would start it when somebody has something to say.
    assert host.run("systemctl start %s", AUDIT).rc == 0
    units = [*SERVICES, AUDIT, naming.agent_unit(started[0])]
    every = [*units, naming.agent_unit(started[1])]

    def shown(name: str) -> list[str]:
        """A property of each unit; empty while one of them has none."""
        text = "systemctl show --value -p %s " + " ".join(every)
        return host.run(text, name).stdout.split()

    def is_back() -> bool:
        now = dict(zip(every, shown("MainPID"), strict=True))
        states = shown("ActiveState")
        return all(now[unit] not in ("0", before[unit]) for unit in units) and {*states} == {
            "active"
        }

    kept = facts()
    assert kept, "the homeserver and the audit log answer before anything is done"
    before = dict(zip(every, shown("MainPID"), strict=True))
    assert "0" not in before.values()
    assert host.run("kill -KILL " + " ".join(before[unit] for unit in units)).rc == 0
    until(is_back)
    later: list[dict] = []
    until(lambda: later.append(facts()) or later[-1] is not None)
    until(lambda: host.run("systemctl is-system-running").stdout.strip() == "running")
    after = shown("MainPID")
    return Killed(
        dict(zip(every, zip(before.values(), after, strict=True), strict=True)),
        (kept, later[-1]),
    )


@pytest.mark.parametrize("unit", [*SERVICES, AUDIT])
def test_a_killed_service_comes_back(killed, unit):
    before, after = killed.pids[unit]
    assert after not in ("0", before)


def test_a_killed_agent_comes_back_and_answers(host, killed, running, agents, until):
    before, after = killed.pids[naming.agent_unit(running[0])]
    assert after not in ("0", before)
    port = str(agents[running[0]])
    until(lambda: host.run("ss -Hltn 'sport = :%s'", port).stdout != "")


def test_another_agent_does_not_notice(killed, running):
    before, after = killed.pids[naming.agent_unit(running[1])]
    assert after == before


def test_the_audit_socket_outlives_its_service(host, killed):
    assert host.run("systemctl show --value -p ActiveState agency-audit.socket").stdout == (
        "active\n"
    )
    assert host.file("/run/agency-audit.sock").is_socket


def test_the_room_and_its_state_survive(killed):
    before, after = killed.kept
    assert after["room"] == before["room"]
    assert before["state"], "the room has a state"
    assert {*before["state"]} <= {*after["state"]}


def test_the_audit_log_survives(killed):
    """Every row as it was, in its place; more may have been added."""
    before, after = killed.kept
    assert before["audit_ok"]
    assert after["audit_ok"]
    assert before["rows"], "there is a log to lose"
    assert after["rows"][: len(before["rows"])] == before["rows"]


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
