"""The control plane's one privilege: agents' units, and nothing else."""

import pytest

from agency import naming

CALL = (
    "busctl --system call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager %s"
)

pytestmark = pytest.mark.disturbs


@pytest.mark.parametrize(
    "call",
    [
        "StopUnit ss nginx.service replace",
        "StopUnit ss ssh.service replace",
        "StopUnit ss agency-secrets.service replace",
        "StartUnit ss debug-shell.service replace",
        "StartUnit ss agency-agent@PM.service replace",
        "StartUnit ss agency-agent-coding@pm.service replace",
        "Reload",
        "PowerOff",
        "KillUnit ssi agency-control.service all 15",
    ],
)
def test_what_the_control_plane_may_not(run_as, call):
    done = run_as("agency-control", CALL % call)
    assert done.rc != 0
    assert "denied" in done.stderr.lower() or "authentication" in done.stderr.lower(), done.stderr


def test_what_it_may(host, run_as, pair):
    unit = naming.agent_unit(pair[0])
    host.run("systemctl status %s", unit)  # loads it
    assert run_as("agency-control", CALL % f"StopUnit ss {unit} replace").rc == 0


def test_an_agent_may_nothing(run_as, pair):
    user = naming.agent_user(pair[0])
    for unit in (naming.agent_unit(pair[0]), naming.agent_unit(pair[1]), "nginx.service"):
        done = run_as(user, CALL % f"StopUnit ss {unit} replace")
        assert done.rc != 0
        assert "denied" in done.stderr.lower() or "authentication" in done.stderr.lower()
