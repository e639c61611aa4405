"""Promise: the control plane's one privilege is to start and stop agents' units."""

import pytest

from agency import naming

CALL = (
    "busctl --system call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager %s"
)
WHO = "agency-control"

pytestmark = pytest.mark.disturbs


def is_denied(done) -> bool:
    said = done.stderr.lower()
    return done.rc != 0 and ("denied" in said or "authentication" in said)


@pytest.fixture
def manager(run_as):
    """Calls systemd's manager over D-Bus as a user."""

    def manager(user: str, call: str):
        return run_as(user, CALL % call)

    return manager


@pytest.fixture(scope="module")
def services(host) -> dict[str, str]:
    """Every other service that runs, with the pid of each."""
    listed = host.run("systemctl list-units --type=service --state=running --plain --no-legend")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    others = [name for name in names if not name.startswith("agency-agent@")]
    assert {"agency-control.service", "postgresql.service", "polkit.service"} <= {*others}
    shown = host.run("systemctl show --value -p MainPID " + " ".join(others)).stdout.split()
    return dict(zip(others, shown, strict=True))


@pytest.mark.parametrize("verb", ["StopUnit", "RestartUnit"])
def test_no_service_that_runs_is_its_to_touch(host, manager, services, verb):
    for unit in services:
        assert is_denied(manager(WHO, f"{verb} ss {unit} replace")), unit
    shown = host.run("systemctl show --value -p MainPID " + " ".join(services)).stdout.split()
    assert shown == list(services.values())


@pytest.mark.parametrize(
    "call",
    [
        "StopUnit ss sshd.service replace",
        "StopUnit ss ssh.service replace",
        "StopUnit ss nginx.service replace",
        "StartUnit ss nginx.service replace",
        "StopUnit ss nftables.service replace",
        "StopUnit ss agency-audit.socket replace",
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


def test_not_even_an_agent_is_its_to_kill(host, manager, running):
    """It stops them; a signal of its choice is more than that."""
    unit = naming.agent_unit(running[0])
    assert is_denied(manager(WHO, f"KillUnit ssi {unit} all 9"))
    assert is_denied(manager(WHO, f"SetUnitProperties 'sba(sv)' {unit} true 0"))
    assert host.service(unit).is_running


def test_who_may_is_not_refused(host):
    """Root asks for what is so already: the call itself is right."""
    done = host.run(CALL % "StartUnit ss nftables.service replace")
    assert done.rc == 0, done.stderr
    assert not is_denied(done)


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


def test_an_agent_may_nothing(host, manager, running):
    mine, other = running
    for unit in (naming.agent_unit(mine), naming.agent_unit(other), "nginx.service"):
        for verb in ("StopUnit", "StartUnit"):
            assert is_denied(manager(naming.agent_user(mine), f"{verb} ss {unit} replace")), unit
    assert host.service(naming.agent_unit(other)).is_running


def test_nobody_else_may_stop_an_agent(manager, running):
    for user in ("nobody", "matrix-synapse"):
        call = f"StopUnit ss {naming.agent_unit(running[0])} replace"
        assert is_denied(manager(user, call)), user
