"""The agents' audit log: who can write it, who cannot, and that changes to it are found."""

import json
import re

import pytest

from agency import naming

DIRECTORY = "/var/log/agency-agents"
SERVICE = "agency-audit.service"
EVENT = "guest.test"


@pytest.fixture(scope="module")
def agency(host) -> str:
    """The command, as the service's own unit calls it."""
    shown = host.run("systemctl show -p ExecStart %s", SERVICE).stdout
    found = re.search(r"path=(\S+)", shown)
    assert found, shown
    return found[1]


@pytest.fixture(scope="module")
def audit(host, agency):
    """`agency workspace audit ... --json` as root: the exit status and what was printed."""

    def audit(*arguments: str) -> tuple[int, dict]:
        done = host.run(
            " ".join(["%s workspace audit", *["%s"] * len(arguments)]) + " --json",
            agency,
            *arguments,
        )
        return done.rc, json.loads(done.stdout or done.stderr)

    return audit


@pytest.fixture(scope="module")
def record_as(run_as, agency):
    """Puts an event on record as a user."""

    def record_as(user: str, event: str = EVENT):
        return run_as(user, "%s workspace audit record %s --json", agency, event)

    return record_as


@pytest.fixture(scope="module")
def written(pair, record_as) -> dict[str, dict]:
    """Both agents have put an event on record; what each was answered."""
    answers = {}
    for name in pair:
        done = record_as(naming.agent_user(name))
        assert done.rc == 0, done.stderr
        answers[name] = json.loads(done.stdout)
    return answers


def last_of(host, name: str, event: str) -> dict:
    lines = host.file(f"{DIRECTORY}/{name}.jsonl").content_string.splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == event][-1]


def test_the_socket_is_for_agents(host):
    """Held by systemd, so that it is there before anything is written."""
    socket = host.file("/run/agency-audit.sock")
    assert socket.is_socket
    assert (socket.user, socket.group, socket.mode) == ("root", naming.AGENTS_GROUP, 0o660)


@pytest.mark.disturbs
def test_an_agent_puts_events_on_record_under_its_own_name(host, pair, written):
    for name in pair:
        found = last_of(host, name, EVENT)
        assert found["agent"] == name
        assert found["uid"] == host.user(naming.agent_user(name)).uid
        assert found["hash"] == written[name]["hash"]


@pytest.mark.disturbs
def test_who_is_no_agent_is_refused(host, pair, written, record_as):
    other = record_as("nobody")
    assert other.rc == 1
    assert "may not use" in other.stderr
    root = record_as("root")
    assert root.rc == 1
    assert "uid 0 is not an agent's" in root.stderr
    assert record_as(naming.agent_user(pair[0])).rc == 0


@pytest.mark.disturbs
def test_a_running_agent_is_on_record(host, running):
    """The runtime says itself when it started."""
    for name in running:
        found = last_of(host, name, "agent.started")
        assert found["uid"] == host.user(naming.agent_user(name)).uid
        assert found["detail"]["role"]


@pytest.mark.disturbs
def test_an_agents_program_reaches_it_from_inside_its_unit(host, inside, running, agency):
    done = inside(running[0], "%s workspace audit record guest.inside --detail n=1", agency)
    assert done.rc == 0, done.stderr
    assert last_of(host, running[0], "guest.inside")["detail"] == {"n": "1"}


CHANGES = (
    "cat %s",
    "echo x >> %s",
    "truncate -s 0 %s",
    "mv %s /tmp/audit-of-a-test",
    "rm -f %s && test ! -e %s",
    "chmod 666 %s",
    "ln %s /tmp/audit-of-a-test",
)


@pytest.mark.disturbs
@pytest.mark.parametrize("change", CHANGES)
def test_no_agent_can_read_or_change_its_log(host, pair, written, run_as, change):
    """Not its own either: who is taken over must not learn what is known of it."""
    path = f"{DIRECTORY}/{pair[0]}.jsonl"
    before = host.file(path).content
    paths = [path] * change.count("%s")
    own = f"/home/{naming.agent_user(pair[0])}/audit-of-a-test"
    user = naming.agent_user(pair[0])
    done = run_as(user, change, *paths)
    # `rm -f` of what cannot be seen says nothing, and the file is there for whoever can look.
    assert done.rc != 0 or change.startswith("rm")
    assert host.file(path).content == before
    assert host.run("test -e /tmp/audit-of-a-test").rc != 0
    try:
        assert run_as(user, "echo x > %s", own).rc == 0
        assert run_as(user, change, *[own] * change.count("%s")).rc == 0, "the test can tell"
    finally:
        host.run("rm -f %s /tmp/audit-of-a-test", own)


@pytest.mark.disturbs
def test_the_log_is_for_root_and_those_who_may_read_logs(host, pair, written):
    directory = host.file(DIRECTORY)
    assert (directory.user, directory.group, directory.mode) == ("root", "adm", 0o750)
    for name in pair:
        file = host.file(f"{DIRECTORY}/{name}.jsonl")
        assert (file.user, file.group, file.mode) == ("root", "adm", 0o640)


@pytest.mark.disturbs
def test_it_is_append_only_or_says_why_not(host, pair, written, audit):
    status, found = audit("status")
    assert status == 0
    path = f"{DIRECTORY}/{pair[0]}.jsonl"
    if found["appendOnly"]:
        before = host.file(path).content
        assert host.run("truncate -s 0 %s", path).rc != 0, "not even root, without more ado"
        assert host.run("rm -f %s", path).rc != 0
        assert host.file(path).content == before
    else:
        assert "append-only flag" in found["reason"]
        begun = json.loads(host.file(path).content_string.splitlines()[0])
        assert begun["event"] == "log.begun"
        journal = host.run("journalctl --no-pager -u %s", SERVICE).stdout
        assert "does not keep the log append-only" in journal


ROTATE = """
import sys
from pathlib import Path
from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.log import AgentLog
from agency.workspace.audit.place import Place
from agency.workspace.audit.record import Sender
log = AgentLog(Place(Path(sys.argv[1])), "pm", Clock(), Bounds(file_bytes=600))
for number in range(6):
    log.append(Sender(4711, 42), "x", {"n": number})
"""
HELD = (
    "User",
    "Group",
    "CapabilityBoundingSet",
    "NoNewPrivileges",
    "PrivateDevices",
    "ProtectSystem",
    "UMask",
)


@pytest.mark.disturbs
def test_rotation_works_with_the_rights_of_the_service(host, python, written, audit):
    """With small files, in a directory of the test's own."""
    name = "agency-audit-of-a-test"
    place = f"/var/log/{name}"
    options = ["--quiet", "--wait", "--pipe", f"--property=LogsDirectory={name}"]
    for key in HELD:
        value = host.run("systemctl show --value -p %s %s", key, SERVICE).stdout.strip()
        options.append(f"--property={key}={value}")
    command = ["systemd-run", *options, python, "-c", ROTATE, place]
    try:
        done = host.run(" ".join(["%s"] * len(command)), *command)
        assert done.rc == 0, done.stderr
        status, found = audit("verify", "--directory", place)
        assert (status, found["agents"][0]["ok"]) == (0, True)
        assert found["agents"][0]["files"] >= 3
        _, here = audit("status", "--directory", place)
        _, there = audit("status")
        assert here["agents"][0]["closedFiles"] >= 2
        assert here["appendOnly"] == there["appendOnly"]
        if here["appendOnly"]:
            assert host.run("rm -f %s/pm.0*", place).rc != 0
    finally:
        host.run("chattr -R -a -i %s; rm -rf %s", place, place)


@pytest.mark.disturbs
def test_a_killed_service_comes_back_and_nothing_is_lost(host, pair, written, record_as, until):
    user = naming.agent_user(pair[0])
    first = json.loads(record_as(user).stdout)
    pid = host.run("systemctl show --value -p MainPID %s", SERVICE).stdout.strip()
    assert host.run("kill -KILL %s", pid).rc == 0
    until(lambda: record_as(user).rc == 0)
    path = f"{DIRECTORY}/{pair[0]}.jsonl"
    kept = [json.loads(line) for line in host.file(path).content_string.splitlines()]
    at = [record["hash"] for record in kept].index(first["hash"])
    assert kept[at + 1]["event"] == "log.opened"


@pytest.mark.disturbs
def test_it_verifies_and_a_tampered_copy_does_not(host, pair, written, audit):
    status, found = audit("verify")
    assert status == 0
    assert {report["agent"] for report in found["agents"]} >= set(pair)
    head = f"{written[pair[0]]['sequence']}:{written[pair[0]]['hash']}"
    assert audit("verify", "--agent", pair[0], "--head", head)[0] == 0

    copy = host.run("mktemp -d").stdout.strip()
    try:
        host.run("cp %s/*.jsonl %s/", DIRECTORY, copy)
        assert audit("verify", "--directory", copy)[0] == 0
        file = f"{pair[0]}.jsonl"
        host.run('sed -i \'2s/"pid":/"pid":1/\' %s', f"{copy}/{file}")
        status, found = audit("verify", "--directory", copy, "--agent", pair[0])
        assert status == 1
        broken = found["agents"][0]["broken"]
        assert (broken["file"], broken["line"]) == (file, 2)
    finally:
        host.run("rm -rf %s", copy)
