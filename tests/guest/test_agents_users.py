"""Promise: an agent is a user of its own, whom nobody can become and who can become nobody.

A uid that comes from its name, no password, no shell, no group with rights, a closed home; no write
to what is the system's or another's; no way to root.
"""

import re
from collections.abc import Sequence

import pytest
from claim import absent

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
# What Debian and NixOS ship with the set-uid bit, and where.
SETUID_PLACES = ("/usr/", "/bin/", "/sbin/", "/nix/store/", "/run/wrappers/")
KNOWN_SETUID = {
    *("su", "mount", "umount", "passwd", "chsh", "chfn", "gpasswd", "newgrp", "sg", "sudo"),
    *("sudoedit", "pkexec", "polkit-agent-helper-1", "dbus-daemon-launch-helper"),
    *("unix_chkpwd", "fusermount", "fusermount3", "newuidmap", "newgidmap", "ssh-keysign", "ping"),
}
# Where programs are that only root is meant to run.
SBIN = "/usr/sbin:/sbin:/run/wrappers/bin:/run/current-system/sw/bin"
ALLOWED = "true"
HARMLESS = ("setpriv --reuid=0 true", "chroot / true", "nft list ruleset", "cat /etc/shadow")
TO_ROOT = (
    *("su -c true root", "sudo -n true", "pkexec --disable-internal-agent true"),
    *("passwd -d root", "chsh -s /bin/sh root", "newgrp root -c true", "mount -t tmpfs t /mnt"),
    *("umount /proc", "chown root /proc/self/fd/1", "nsenter -t 1 -m true"),
    *("systemd-run --wait true", "systemctl daemon-reload", "ip link set lo down"),
    *("mknod /tmp/d b 7 0", *HARMLESS),
)
TIMED_OUT = 124  # as timeout(1) says it


@pytest.fixture(scope="module")
def users(agents) -> list[str]:
    return [naming.agent_user(name) for name in agents]


@pytest.mark.claim("uid-of-instance", "own-user", disturbs=False)
def test_uids_are_those_of_the_instance(host, agents, own_uids):
    """A stable hash of the name, or what the instance says; never a position in a list."""
    uids = {name: host.user(naming.agent_user(name)).uid for name in agents}
    assert uids == {name: own_uids.get(name, naming.agent_uid(name)) for name in agents}
    assert all(uid in naming.AGENT_UIDS for uid in uids.values())
    assert len(set(uids.values())) == len(agents)


@pytest.mark.claim("uid-of-no-agent", "own-user", disturbs=False, control=True)
def test_a_uid_of_no_agent_belongs_to_nobody(host, agents):
    name = "nobody-of-a-test"
    assert name not in agents
    assert not host.user(naming.agent_user(name)).exists
    assert host.run("getent passwd %s", str(naming.agent_uid(name))).rc != 0


@pytest.mark.claim("uid-in-firewall", "own-user", disturbs=False)
def test_the_uids_are_those_of_the_firewall(host, users):
    """And of nobody else: the control plane is no agent."""
    table = host.run("nft list set inet agency-agents agent_servers").stdout
    held = {int(uid) for uid in re.findall(r"(\d+) \. \d+", table.split("elements")[1])}
    assert held == {host.user(user).uid for user in users}


@pytest.mark.claim("no-log-in", "no-log-in", disturbs=False)
def test_nobody_can_log_in_as_an_agent(host, users):
    for name in users:
        user = host.user(name)
        assert user.shell.endswith("nologin")
        assert user.password[:1] in ("!", "*")


@pytest.mark.claim("log-in-noticed", "no-log-in", disturbs=False, control=True)
def test_a_login_would_be_noticed(host):
    assert host.user("root").shell.endswith("sh"), "the test can tell a shell"


@pytest.mark.claim("no-privileged-group", "no-group", disturbs=False)
def test_agents_are_in_no_privileged_group(host, users):
    for user in users:
        groups = host.user(user).groups
        assert groups == [naming.AGENTS_GROUP]
        assert not PRIVILEGED & set(groups)


@pytest.mark.claim("privileged-group-noticed", "no-group", disturbs=False, control=True)
def test_membership_in_a_privileged_group_would_be_noticed(host):
    assert PRIVILEGED & set(host.user("root").groups)


@pytest.mark.claim("home-closed", "own-home", disturbs=False)
def test_homes_are_closed(host, users):
    for user in users:
        home = host.file(f"/home/{user}")
        assert home.is_directory
        assert (home.mode, home.user) == (0o700, user)


@pytest.mark.claim("own-files", "own-home", disturbs=True, control=True)
def test_its_own_files_are_its_own(host, users, run_as):
    own = f"/home/{users[0]}/written-by-a-test"
    try:
        assert run_as(users[0], "echo hello > %s && cat %s", own, own).stdout == "hello\n"
        assert host.file(own).user == users[0]
    finally:
        host.run("rm -f %s", own)


@pytest.mark.claim("files-of-another", "own-home", disturbs=True)
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


@pytest.mark.claim("system-paths", "system-unwritten", disturbs=True)
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


@pytest.mark.claim("system-paths-exist", "system-unwritten", disturbs=False, control=True)
def test_there_are_system_paths(host):
    found = host.run(f"ls -d {' '.join(SYSTEM_PATHS)}").stdout.split()
    assert len(found) > 10


@pytest.mark.claim(
    "system-files", "system-unwritten", disturbs=True, may_skip=(absent("/etc/nftables.conf"),)
)
@pytest.mark.parametrize("path", SYSTEM_FILES)
def test_system_files_cannot_be_changed(host, pair, run_as, path):
    user = naming.agent_user(pair[0])
    if not host.file(path).exists:
        pytest.skip(absent(path).reason)
    before = host.file(path).sha256sum
    # Appends nothing: it is opened for writing, which is what must be refused.
    assert run_as(user, ": >> %s", path).rc != 0
    assert run_as(user, "rm -f %s", path).rc != 0
    assert run_as(user, "ln -sf /dev/null %s", path).rc != 0
    assert host.file(path).sha256sum == before


@pytest.mark.claim("no-way-to-root", "no-root", disturbs=True)
def test_there_is_no_way_to_root(host, pair, run_as):
    """Every program that could give rights away, side by side: each takes its time to refuse."""
    found = outcomes(lambda text: run_as(naming.agent_user(pair[0]), text), TO_ROOT)
    assert [one for one, status in found.items() if status in (0, TIMED_OUT)] == []
    there = programs(host.run, TO_ROOT)
    assert programs(lambda text: run_as(naming.agent_user(pair[0]), text), TO_ROOT) == there
    assert outcomes(host.run, HARMLESS) == dict.fromkeys(HARMLESS, 0), "root can"


def outcomes(run, commands: Sequence[str]) -> dict[str, int]:
    """The exit status of each command, all run at once."""
    each = "\n".join(
        f"(timeout 20 {one} </dev/null >/dev/null 2>&1; echo {n} $?) &"
        for n, one in enumerate((*commands, ALLOWED))
    )
    lines = run(f"PATH=$PATH:{SBIN}\n{each}\nwait").stdout.splitlines()
    status = dict(map(int, line.split()) for line in lines)
    assert status.pop(len(commands)) == 0, "the test can tell what is allowed"
    return {one: status[n] for n, one in enumerate(commands)}


def programs(run, commands: Sequence[str]) -> list[str]:
    """Which of the commands' programs are found: what is not there cannot refuse."""
    names = " ".join({one.split()[0]: None for one in commands})
    find = f"PATH=$PATH:{SBIN}; for name in {names}; do command -v $name >&2 && echo $name; done"
    found: list[str] = run(find).stdout.split()
    return found


def setuid_programs(host) -> list[str]:
    """All that are on file systems of the machine, but for where only root can enter."""
    elsewhere = ("proc", "sysfs", "cgroup", "cgroup2", "tracefs", "debugfs", "nfs", "nfs4", "cifs")
    types = " -o ".join(f"-fstype {name}" for name in elsewhere)
    closed = r"-type d -user root ! -perm -0001 \( -group root -o ! -perm -0010 \)"
    text = rf"find / \( {types} -o {closed} \) -prune -o -type f -perm -4000 -print"
    found: list[str] = host.run(text).stdout.splitlines()
    return found


def stray(paths: Sequence[str]) -> list[str]:
    """Those that are not known, or are not where a system puts them."""
    return [
        path
        for path in paths
        if path.rsplit("/", 1)[1] not in KNOWN_SETUID or not path.startswith(SETUID_PLACES)
    ]


@pytest.mark.claim("setuid-programs-known", "no-root", disturbs=False)
def test_setuid_programs_are_those_of_the_distribution(host):
    found = setuid_programs(host)
    assert found, "even a plain Debian or NixOS has some"
    assert stray(found) == []


@pytest.mark.claim("stray-setuid-noticed", "no-root", disturbs=True, control=True)
def test_a_stray_setuid_program_would_be_noticed(host, pair, run_as):
    """And would work for who is not held by a unit: test_confinement shows that agents are.

    On a file system of its own, as /home may be; and whatever it is called.
    """
    place = "/var/lib/stray-of-a-test"
    strays = {
        f"{place}/id",
        f"{place}/su",
    }  # a program that is many learns from its name what to be
    copy = 'install -m 4755 "$(readlink -f "$(command -v id)")" %s && cp -p %s %s'
    try:
        assert host.run("mkdir %s && mount -t tmpfs of-a-test %s", place, place).rc == 0
        assert host.run("chmod 755 %s", place).rc == 0
        assert host.run(copy, f"{place}/id", f"{place}/id", f"{place}/su").rc == 0
        assert {*stray(setuid_programs(host))} == strays
        assert run_as(naming.agent_user(pair[0]), "%s -u", f"{place}/id").stdout == "0\n"
    finally:
        host.run("umount %s; rmdir %s", place, place)
