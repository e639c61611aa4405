"""Promise: the control plane may start and stop agents' units, start the backup, and no more."""

import re
from collections.abc import Sequence

import pytest

from agency import naming

CALL = (
    "busctl --system call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager %s"
)
WHO = "agency-control"

REFUSAL = re.compile(r"denied|authentication", re.IGNORECASE)


def is_denied(done) -> bool:
    return done.rc != 0 and REFUSAL.search(done.stderr) is not None


@pytest.fixture
def manager(run_as):
    """Calls systemd's manager over D-Bus as a user."""

    def manager(user: str, call: str):
        return run_as(user, CALL % call)

    return manager


@pytest.fixture
def not_denied(run_as):
    """Makes many calls as a user; those which anything but a refusal came of, with what came."""

    def not_denied(user: str, calls: Sequence[str]) -> dict[str, str]:
        each = (f"{CALL % call} 2>&1 >/dev/null; printf '\\0%s\\0' $?" for call in calls)
        parts = run_as(user, "; ".join(each)).stdout.split("\0")
        said, status = parts[:-1:2], parts[1::2]
        return {
            call: one
            for call, one, code in zip(calls, said, status, strict=True)
            if code == "0" or not REFUSAL.search(one)
        }

    return not_denied


@pytest.fixture(scope="module")
def services(host) -> dict[str, str]:
    """Every other service that runs, with the pid of each."""
    assert host.run("systemctl start polkit.service").rc == 0, "which runs when it is first asked"
    listed = host.run("systemctl list-units --type=service --state=running --plain --no-legend")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    others = [name for name in names if not name.startswith("agency-agent@")]
    assert {"agency-control.service", "postgresql.service", "polkit.service"} <= {*others}
    shown = host.run("systemctl show --value -p MainPID " + " ".join(others)).stdout.split()
    return dict(zip(others, shown, strict=True))


@pytest.mark.claim("services-not-its-own", "control-plane", disturbs=True)
@pytest.mark.parametrize("verb", ["StopUnit", "RestartUnit"])
def test_no_service_that_runs_is_its_to_touch(host, not_denied, services, verb):
    assert not_denied(WHO, [f"{verb} ss {unit} replace" for unit in services]) == {}
    shown = host.run("systemctl show --value -p MainPID " + " ".join(services)).stdout.split()
    assert shown == list(services.values())


@pytest.mark.claim("other-units-and-calls", "control-plane", disturbs=True)
@pytest.mark.parametrize(
    "call",
    [
        "StopUnit ss sshd.service replace",
        "StopUnit ss ssh.service replace",
        "StopUnit ss nginx.service replace",
        "StartUnit ss nginx.service replace",
        "StopUnit ss nftables.service replace",
        "StopUnit ss agency-audit.socket replace",
        "StopUnit ss agency-backup.service replace",
        "RestartUnit ss agency-backup.service replace",
        "StartUnit ss agency-backup-verify.service replace",
        "StopUnit ss agency-secrets.service replace",
        "StopUnit ss agency-agents.slice replace",
        "StartUnit ss debug-shell.service replace",
        "StartUnit ss rescue.target isolate",
        "StartUnit ss agency-agent@PM.service replace",
        "StartUnit ss agency-agent-coding@pm.service replace",
        "KillUnit ssi agency-control.service all 15",
        "EnableUnitFiles asbb 1 nginx.service true true",
        "MaskUnitFiles asbb 1 nftables.service true true",
        "SetUnitProperties 'sba(sv)' dbus.service true 0",
        "StartTransientUnit 'ssa(sv)a(sa(sv))' x.service replace 0 0",
        "Reload",
        "Reexecute",
        "PowerOff",
        "SetEnvironment as 1 A=B",
    ],
)
def test_what_the_control_plane_may_not(manager, call):
    done = manager(WHO, call)
    assert is_denied(done), done.stderr


@pytest.mark.claim("agent-not-killed", "control-plane", disturbs=True)
def test_not_even_an_agent_is_its_to_kill(host, manager, running):
    """It stops them; a signal of its choice is more than that."""
    unit = naming.agent_unit(running[0])
    assert is_denied(manager(WHO, f"KillUnit ssi {unit} all 9"))
    assert is_denied(manager(WHO, f"SetUnitProperties 'sba(sv)' {unit} true 0"))
    assert host.service(unit).is_running


@pytest.mark.claim("agent-not-isolated", "control-plane", disturbs=True)
def test_isolating_an_agent_is_refused(host, manager, running, services):
    """By systemd itself: polkit is not told how a unit is to be started."""
    done = manager(WHO, f"StartUnit ss {naming.agent_unit(running[0])} isolate")
    assert done.rc != 0
    assert "isolate" in done.stderr
    shown = host.run("systemctl show --value -p MainPID " + " ".join(services)).stdout.split()
    assert shown == list(services.values())


@pytest.mark.claim("root-not-refused", "control-plane", disturbs=True, control=True)
def test_who_may_is_not_refused(host, not_denied):
    """Root asks for what is so already: the call itself is right."""
    call = "StartUnit ss nftables.service replace"
    done = host.run(CALL % call)
    assert done.rc == 0, done.stderr
    assert not is_denied(done)
    assert not_denied("root", [call, "NoSuchCall"]).keys() == {call, "NoSuchCall"}


@pytest.mark.claim("agent-started-and-stopped", "control-plane", disturbs=True, control=True)
def test_it_stops_starts_and_restarts_an_agent(host, manager, running, until):
    unit = naming.agent_unit(running[0])

    def shown(name: str) -> str:
        return host.run("systemctl show --value -p %s %s", name, unit).stdout.strip()

    assert shown("ActiveState") == "active"
    assert manager(WHO, f"StopUnit ss {unit} replace").rc == 0
    until(lambda: shown("ActiveState") == "inactive")
    assert manager(WHO, f"StartUnit ss {unit} replace").rc == 0
    until(lambda: shown("ActiveState") == "active")
    before = shown("MainPID")
    assert manager(WHO, f"RestartUnit ss {unit} replace").rc == 0
    until(lambda: shown("MainPID") not in ("0", before) and shown("ActiveState") == "active")


@pytest.mark.claim("backup-started", "control-plane", disturbs=True, control=True)
def test_it_starts_the_backup(host, manager, until):
    """Not denied: where no backup is set, systemd says that there is no such unit."""
    done = manager(WHO, "StartUnit ss agency-backup.service replace")
    known = host.run("systemctl cat agency-backup.service").rc == 0
    assert not is_denied(done), done.stderr
    assert (done.rc == 0) is known, done.stderr
    if known and not host.file("/etc/agency/backup.json").exists:
        # Its unit is there and nothing is configured: it fails, which is no failure of the machine.
        until(lambda: host.run("systemctl is-failed agency-backup.service").rc == 0)
        assert host.run("systemctl reset-failed agency-backup.service").rc == 0


@pytest.mark.claim("agent-starts-nothing", "control-plane", disturbs=True)
def test_an_agent_may_nothing(host, not_denied, running):
    mine, other = running
    units = (naming.agent_unit(mine), naming.agent_unit(other), "nginx.service")
    calls = [f"{verb} ss {unit} replace" for unit in units for verb in ("StopUnit", "StartUnit")]
    assert not_denied(naming.agent_user(mine), calls) == {}
    assert host.service(naming.agent_unit(other)).is_running


@pytest.mark.claim("agent-stopped-by-nobody-else", "control-plane", disturbs=True)
def test_nobody_else_may_stop_an_agent(manager, running):
    for user in ("nobody", "matrix-synapse"):
        call = f"StopUnit ss {naming.agent_unit(running[0])} replace"
        assert is_denied(manager(user, call)), user
