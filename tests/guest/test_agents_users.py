"""Promise: an agent is a user of its own, whom nobody can become and who can become nobody.

A uid that comes from its name, no password, no shell, no group with rights, a closed home; no write
to what is the system's or another's; no way to root.
"""

import pytest

from agency import naming

# Who is in one of these can do more than its own.
PRIVILEGED = {
    *("root", "wheel", "sudo", "adm", "admin", "disk", "shadow", "docker", "incus", "incus-admin"),
    *("lxd", "kvm", "systemd-journal", "systemd-network", "messagebus", "polkitd"),
    *("postgres", "matrix-synapse", "agency-control"),
}
SYSTEM_PATHS = (
    *("/", "/etc", "/etc/agency", "/etc/systemd/system", "/etc/polkit-1/rules.d", "/usr/bin"),
    *("/usr/lib/agency", "/usr/local/bin", "/opt/agency", "/opt/agency/bin", "/nix/store"),
    *("/var/lib", "/var/lib/agency-control", "/var/lib/matrix-synapse", "/var/lib/postgresql"),
    *("/var/log", "/home", "/root", "/boot", "/run", "/run/systemd/system", "/run/secrets"),
)
SYSTEM_FILES = ("/etc/passwd", "/etc/shadow", "/etc/agency/control.json", "/etc/nftables.conf")
# What Debian and NixOS ship with the set-uid bit.
KNOWN_SETUID = {
    *("su", "mount", "umount", "passwd", "chsh", "chfn", "gpasswd", "newgrp", "sg", "sudo"),
    *("sudoedit", "pkexec", "polkit-agent-helper-1", "dbus-daemon-launch-helper"),
    *("unix_chkpwd", "fusermount", "fusermount3", "newuidmap", "newgidmap", "ssh-keysign", "ping"),
}


@pytest.fixture(scope="module")
def users(agents) -> list[str]:
    return [naming.agent_user(name) for name in agents]


def test_uids_are_those_of_the_instance(host, agents):
    """A stable hash of the name, or what the instance says; never a position in a list."""
    uids = {name: host.user(naming.agent_user(name)).uid for name in agents}
    assert all(uid in naming.AGENT_UIDS for uid in uids.values())
    assert len(set(uids.values())) == len(agents)
    of_name = {name for name, uid in uids.items() if uid == naming.agent_uid(name)}
    assert of_name, "no agent has the uid that comes from its name"


def test_a_uid_of_no_agent_belongs_to_nobody(host, agents):
    name = "nobody-of-a-test"
    assert name not in agents
    assert not host.user(naming.agent_user(name)).exists
    assert host.run("getent passwd %s", str(naming.agent_uid(name))).rc != 0


def test_the_uids_are_those_of_the_firewall(host, users):
    table = host.run("nft list set inet agency-agents agents").stdout
    for user in users:
        assert str(host.user(user).uid) in table, user
    assert f" {naming.CONTROL_UID} " not in table, "the control plane is no agent"


def test_nobody_can_log_in_as_an_agent(host, users):
    for name in users:
        user = host.user(name)
        assert user.shell.endswith("nologin")
        assert user.password[:1] in ("!", "*")


def test_a_login_would_be_noticed(host):
    assert host.user("root").shell.endswith("sh"), "the test can tell a shell"


def test_agents_are_in_no_privileged_group(host, users):
    for user in users:
        groups = host.user(user).groups
        assert groups == [naming.AGENTS_GROUP]
        assert not PRIVILEGED & set(groups)


def test_membership_in_a_privileged_group_would_be_noticed(host):
    assert PRIVILEGED & set(host.user("root").groups)


def test_homes_are_closed(host, users):
    for user in users:
        home = host.file(f"/home/{user}")
        assert home.is_directory
        assert (home.mode, home.user) == (0o700, user)


@pytest.mark.disturbs
def test_its_own_files_are_its_own(host, users, run_as):
    own = f"/home/{users[0]}/written-by-a-test"
    try:
        assert run_as(users[0], "echo hello > %s && cat %s", own, own).stdout == "hello\n"
        assert host.file(own).user == users[0]
    finally:
        host.run("rm -f %s", own)


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
        assert run_as(mine, "echo x >> %s", secret).rc != 0
        assert run_as(mine, "mv /home/%s /home/taken", other).rc != 0
        assert host.file(secret).content_string == "hello\n"
    finally:
        host.run("rm -f %s", secret)


@pytest.mark.disturbs
def test_system_paths_cannot_be_written(host, pair, run_as):
    user = naming.agent_user(pair[0])
    probes = [f"{path.rstrip('/')}/written-by-a-test" for path in SYSTEM_PATHS]
    touch = "touch {0} 2>/dev/null && echo {0}"
    written = "; ".join(touch.format(probe) for probe in (*probes, f"/home/{user}/of-a-test"))
    try:
        assert run_as(user, written).stdout.split() == [f"/home/{user}/of-a-test"]
        assert host.run(f"ls {' '.join(probes)}").stdout == ""
    finally:
        host.run(f"rm -f {' '.join(probes)} /home/{user}/of-a-test")


def test_there_are_system_paths(host):
    found = host.run(f"ls -d {' '.join(SYSTEM_PATHS)}").stdout.split()
    assert len(found) > 10


@pytest.mark.disturbs
@pytest.mark.parametrize("path", SYSTEM_FILES)
def test_system_files_cannot_be_changed(host, pair, run_as, path):
    user = naming.agent_user(pair[0])
    if not host.file(path).exists:
        pytest.skip(f"there is no {path} on this machine")
    before = host.file(path).sha256sum
    # Appends nothing: it is opened for writing, which is what must be refused.
    assert run_as(user, ": >> %s", path).rc != 0
    assert run_as(user, "rm -f %s", path).rc != 0
    assert run_as(user, "ln -sf /dev/null %s", path).rc != 0
    assert host.file(path).sha256sum == before


@pytest.mark.disturbs
def test_there_is_no_way_to_root(pair, run_as):
    """Every program that could give rights away, side by side: each takes its time to refuse."""
    user = naming.agent_user(pair[0])
    tries = (
        *("su -c true root", "sudo -n true", "pkexec --disable-internal-agent true"),
        *("passwd -d root", "chsh -s /bin/sh root", "newgrp root -c true", "mount -t tmpfs t /mnt"),
        *("umount /proc", "setpriv --reuid=0 true", "chown root /proc/self/fd/1", "chroot / true"),
        *("nsenter -t 1 -m true", "systemd-run --wait true", "systemctl daemon-reload"),
        *("nft list ruleset", "ip link set lo down", "mknod /tmp/d b 7 0", "cat /etc/shadow"),
    )
    each = "\n".join(
        f"(timeout 20 {one} </dev/null >/dev/null 2>&1; echo {n} $?) &"
        for n, one in enumerate((*tries, "true"))
    )
    done = run_as(user, f"{each}\nwait")
    status = dict(map(int, line.split()) for line in done.stdout.splitlines())
    assert status.pop(len(tries)) == 0, "the test can tell what is allowed"
    assert len(status) == len(tries)
    assert [tries[n] for n, code in sorted(status.items()) if code == 0] == []


def test_setuid_programs_are_those_of_the_distribution(host):
    found = host.run("find / /run/wrappers -xdev -perm -4000 -type f").stdout.splitlines()
    assert found, "even a plain Debian or NixOS has some"
    assert {path.rsplit("/", 1)[1] for path in found} <= KNOWN_SETUID


@pytest.mark.disturbs
def test_a_stray_setuid_program_would_be_noticed(host, pair, run_as):
    """And would work for who is not held by a unit: test_confinement shows that agents are."""
    place = "/var/lib/stray-of-a-test"
    stray = f"{place}/id"  # its name tells a program that is many what it is to be
    try:
        copy = 'mkdir %s && install -m 4755 "$(readlink -f "$(command -v id)")" %s'
        assert host.run(copy, place, stray).rc == 0
        assert stray in host.run("find /var/lib -xdev -perm -4000 -type f").stdout
        assert run_as(naming.agent_user(pair[0]), "%s -u", stray).stdout == "0\n"
    finally:
        host.run("rm -rf %s", place)
