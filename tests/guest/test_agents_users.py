"""Agents as users of the operating system: what they are, and what is out of their reach."""

import pytest

from agency import naming

SYSTEM_PATHS = ("/etc", "/usr/local/bin", "/opt/agency", "/etc/systemd/system", "/var/lib")


def test_uids_are_those_of_the_instance(host, agents):
    """A stable hash of the name, or what the instance says; never a position in a list."""
    uids = {name: host.user(naming.agent_user(name)).uid for name in agents}
    assert all(uid in naming.AGENT_UIDS for uid in uids.values())
    assert len(set(uids.values())) == len(agents)
    unset = {name: uid for name, uid in uids.items() if uid == naming.agent_uid(name)}
    assert unset, "no agent has the uid that comes from its name"


def test_nobody_can_log_in_as_an_agent(host, agents):
    for name in agents:
        user = host.user(naming.agent_user(name))
        assert user.shell.endswith("nologin")
        assert user.password[:1] in ("!", "*")
    assert host.user("root").shell.endswith("sh"), "the test can tell a shell"


def test_agents_are_in_no_privileged_group(host, agents):
    for name in agents:
        assert host.user(naming.agent_user(name)).groups == [naming.AGENTS_GROUP]


def test_homes_are_closed(host, agents):
    for name in agents:
        home = host.file(f"/home/{naming.agent_user(name)}")
        assert home.is_directory
        assert (home.mode, home.user) == (0o700, naming.agent_user(name))


@pytest.mark.disturbs
def test_another_agents_files_are_out_of_reach(host, pair, run_as):
    mine, other = (naming.agent_user(name) for name in pair)
    secret = f"/home/{other}/secret-of-a-test"
    assert run_as(other, "umask 0; echo hello > %s", secret).rc == 0
    try:
        assert run_as(other, "cat %s", secret).stdout == "hello\n"
        denied = run_as(mine, "cat %s", secret)
        assert denied.rc != 0
        assert "Permission denied" in denied.stderr
        assert run_as(mine, "ls %s", f"/home/{other}").rc != 0
        assert run_as(mine, "touch %s", f"/home/{other}/mine").rc != 0
    finally:
        host.run("rm %s", secret)


@pytest.mark.disturbs
@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_system_paths_cannot_be_written(host, pair, run_as, path):
    user = naming.agent_user(pair[0])
    probe = f"{path}/written-by-a-test"
    assert run_as(user, "touch %s", probe).rc != 0
    assert not host.file(probe).exists
    own = f"/home/{user}/written-by-a-test"
    assert run_as(user, "touch %s && rm %s", own, own).rc == 0


def test_there_is_no_way_to_root(host, pair, run_as):
    user = naming.agent_user(pair[0])
    assert not host.exists("sudo") or run_as(user, "sudo -n true").rc != 0
    assert run_as(user, "su -c true root < /dev/null").rc != 0
    assert run_as(user, "cat /etc/shadow").rc != 0
    status = run_as(user, "grep ^CapEff /proc/self/status")
    assert status.stdout.split() == ["CapEff:", "0" * 16]


@pytest.mark.disturbs
def test_another_agents_processes_cannot_be_signalled(host, pair, run_as):
    mine, other = (naming.agent_user(name) for name in pair)
    host.run("systemd-run --unit=agency-test-sleeper --uid=%s sleep 60", other)
    try:
        show = "systemctl show --value -p MainPID agency-test-sleeper.service"
        pid = host.run(show).stdout.strip()
        assert run_as(mine, "kill -KILL %s", pid).rc != 0
        assert host.run("kill -0 %s", pid).rc == 0
        assert run_as(other, "kill -TERM %s", pid).rc == 0
    finally:
        host.run("systemctl stop agency-test-sleeper.service")


def test_secrets_of_services_are_out_of_reach(host, pair, run_as):
    user = naming.agent_user(pair[0])
    files = host.run("find /run/secrets /run/credentials -type f").stdout.split()
    assert files, "there are no secrets: the test shows nothing"
    for file in files:
        assert run_as(user, "cat %s", file).rc != 0, file
        assert host.run("test -r %s", file).rc == 0
