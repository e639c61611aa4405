"""The agents' audit log: who can write it, who cannot, and that changes to it are found."""

import json

import pytest

from agency import naming

DIRECTORY = "/var/log/agency-agents"
SERVICE = "agency-audit.service"
EVENT = "guest.test"


@pytest.fixture(scope="module")
def audit(agency_calls):
    """Calls of `agency workspace audit ... --json` as root; exit status and answer of each."""

    def audit(*calls: tuple[str, ...]) -> list[tuple[int, dict]]:
        each = (("root", "workspace", "audit", *arguments, "--json") for arguments in calls)
        done = agency_calls(*each, command=3)
        return [(one.rc, json.loads(one.stdout or one.stderr)) for one in done]

    return audit


@pytest.fixture(scope="module")
def record_as(agency_calls):
    """Puts an event on record as each of these users."""

    def record_as(*users: str):
        record = ("workspace", "audit", "record", EVENT, "--json")
        return agency_calls(*((user, *record) for user in users), command=3)

    return record_as


@pytest.fixture(scope="module")
def written(pair, record_as) -> dict[str, dict]:
    """Both agents have put an event on record; what each was answered."""
    done = record_as(*map(naming.agent_user, pair))
    assert [one.rc for one in done] == [0, 0], [one.stderr for one in done]
    return {name: json.loads(one.stdout) for name, one in zip(pair, done, strict=True)}


@pytest.fixture(scope="module")
def kept_how(audit, written) -> dict:
    """How the logs are kept, as `agency workspace audit status` says."""
    [(status, found)] = audit(("status",))
    assert status == 0
    return found


def last_of(host, name: str, event: str) -> dict:
    lines = host.file(f"{DIRECTORY}/{name}.jsonl").content_string.splitlines()
    return [record for line in lines if (record := json.loads(line))["event"] == event][-1]


def only_grew(before: bytes, after: bytes) -> bool:
    """Whether a log is as it was, but for whole rows: a running agent writes at any moment."""
    rest = after.removeprefix(before)
    return after.startswith(before) and all("event" in json.loads(row) for row in rest.splitlines())


@pytest.mark.claim("audit-socket", "audit-log", disturbs=False)
def test_the_socket_is_for_agents(host):
    """Held by systemd, so that it is there before anything is written."""
    socket = host.file("/run/agency-audit.sock")
    assert socket.is_socket
    assert (socket.user, socket.group, socket.mode) == ("root", naming.AGENTS_GROUP, 0o660)


@pytest.mark.claim("record-under-own-name", "audit-log", disturbs=True, control=True)
def test_an_agent_puts_events_on_record_under_its_own_name(host, pair, written):
    for name in pair:
        found = last_of(host, name, EVENT)
        assert found["agent"] == name
        assert found["uid"] == host.user(naming.agent_user(name)).uid
        assert found["hash"] == written[name]["hash"]


@pytest.mark.claim("record-of-no-agent", "audit-log", disturbs=True)
def test_who_is_no_agent_is_refused(host, pair, written, record_as):
    other, root, agent = record_as("nobody", "root", naming.agent_user(pair[0]))
    assert other.rc == 1
    assert "may not use" in other.stderr
    assert root.rc == 1
    assert "uid 0 is not an agent's" in root.stderr
    assert agent.rc == 0


@pytest.mark.claim("start-on-record", "audit-log", disturbs=True)
def test_a_running_agent_is_on_record(host, running):
    """The runtime says itself when it started."""
    for name in running:
        found = last_of(host, name, "agent.started")
        assert found["uid"] == host.user(naming.agent_user(name)).uid
        assert found["detail"]["role"]


@pytest.mark.claim("record-from-inside", "audit-log", disturbs=True, control=True)
def test_an_agents_program_reaches_it_from_inside_its_unit(host, inside, running, agency_script):
    record = "%s workspace audit record guest.inside --detail n=1"
    done = inside(running[0], record, agency_script)
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


@pytest.mark.claim("log-out-of-reach", "audit-log", disturbs=True)
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
    assert only_grew(before, host.file(path).content)
    assert host.run("test -e /tmp/audit-of-a-test").rc != 0
    try:
        assert run_as(user, "echo x > %s", own).rc == 0
        assert run_as(user, change, *[own] * change.count("%s")).rc == 0, "the test can tell"
    finally:
        host.run("rm -f %s /tmp/audit-of-a-test", own)


@pytest.mark.claim("log-readers", "audit-log", disturbs=True)
def test_the_log_is_for_root_and_those_who_may_read_logs(host, pair, written):
    directory = host.file(DIRECTORY)
    assert (directory.user, directory.group, directory.mode) == ("root", "adm", 0o750)
    for name in pair:
        file = host.file(f"{DIRECTORY}/{name}.jsonl")
        assert (file.user, file.group, file.mode) == ("root", "adm", 0o640)


@pytest.mark.claim("log-append-only", "audit-log", disturbs=True)
def test_it_is_append_only_or_says_why_not(host, pair, kept_how):
    path = f"{DIRECTORY}/{pair[0]}.jsonl"
    if kept_how["appendOnly"]:
        before = host.file(path).content
        assert host.run("truncate -s 0 %s", path).rc != 0, "not even root, without more ado"
        assert host.run("rm -f %s", path).rc != 0
        assert only_grew(before, host.file(path).content)
    else:
        assert "append-only flag" in kept_how["reason"]
        begun = json.loads(host.file(path).content_string.splitlines()[0])
        assert begun["event"] == "log.begun"
        journal = host.run("journalctl --no-pager -u %s", SERVICE).stdout
        assert "does not keep the log append-only" in journal
        probe = f"{DIRECTORY}/of-a-test"
        flagged = host.run("touch %s && chattr +a %s", probe, probe)
        host.run("chattr -a %s; rm -f %s", probe, probe)
        assert flagged.rc != 0, "root can set the flag here: the service must have"
        assert "of-a-test" in flagged.stderr, "chattr said no, and not that it is not there"


ROTATE = """
import sys
from pathlib import Path
from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.storage.log import AgentLog
from agency.workspace.audit.storage.place import Place
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


@pytest.mark.claim("log-rotation", "audit-log", disturbs=True)
def test_rotation_works_with_the_rights_of_the_service(host, python, kept_how, audit):
    """With small files, in a directory of the test's own."""
    name = "agency-audit-of-a-test"
    place = f"/var/log/{name}"
    options = ["--quiet", "--wait", "--pipe", f"--property=LogsDirectory={name}"]
    shown = host.run(f"systemctl show {' '.join(f'-p {key}' for key in HELD)} {SERVICE}")
    options += [f"--property={line}" for line in shown.stdout.splitlines()]
    assert len(options) == 4 + len(HELD)
    command = ["systemd-run", *options, python, "-c", ROTATE, place]
    try:
        done = host.run(" ".join(["%s"] * len(command)), *command)
        assert done.rc == 0, done.stderr
        (status, found), (_, here) = audit(
            ("verify", "--directory", place), ("status", "--directory", place)
        )
        assert (status, found["agents"][0]["ok"]) == (0, True)
        assert found["agents"][0]["files"] >= 3
        assert here["agents"][0]["closedFiles"] >= 2
        assert here["appendOnly"] == kept_how["appendOnly"]
        if here["appendOnly"]:
            assert host.run("rm -f %s/pm.0*", place).rc != 0
    finally:
        host.run("chattr -R -a -i %s; rm -rf %s", place, place)


@pytest.mark.claim("log-tampering-found", "audit-log", disturbs=True)
def test_it_verifies_and_a_tampered_copy_does_not(host, pair, written, audit):
    head = f"{written[pair[0]]['sequence']}:{written[pair[0]]['hash']}"
    copy, tampered = host.run("mktemp -d; mktemp -d").stdout.split()
    file = f"{pair[0]}.jsonl"
    try:
        host.run(f"cp {DIRECTORY}/*.jsonl {copy}/; cp {DIRECTORY}/*.jsonl {tampered}/")
        host.run('sed -i \'2s/"pid":/"pid":1/\' %s', f"{tampered}/{file}")
        own, known, copied, changed = audit(
            ("verify",),
            ("verify", "--agent", pair[0], "--head", head),
            ("verify", "--directory", copy),
            ("verify", "--directory", tampered, "--agent", pair[0]),
        )
    finally:
        host.run("rm -rf %s %s", copy, tampered)
    assert [status for status, _ in (own, known, copied, changed)] == [0, 0, 0, 1]
    assert {report["agent"] for report in own[1]["agents"]} >= set(pair)
    broken = changed[1]["agents"][0]["broken"]
    assert (broken["file"], broken["line"]) == (file, 2)
