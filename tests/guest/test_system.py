"""The machine as a whole."""

import pytest

SERVICES = ("postgresql", "matrix-synapse", "agency-control")


def test_nothing_has_failed(host):
    assert host.run("systemctl is-system-running").stdout.strip() == "running"
    assert host.run("systemctl list-units --failed --no-legend").stdout == ""


@pytest.mark.parametrize("name", SERVICES)
def test_what_the_agency_is_made_of_runs(host, name):
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled or name == "postgresql"


def test_a_service_that_does_not_exist_does_not_run(host):
    assert not host.service("no-such-service").is_running


@pytest.mark.parametrize("port", [8008, 8010])
def test_services_listen_on_loopback_alone(host, port):
    listening = host.run("ss --no-header --listening --tcp --numeric 'sport = :%s'", str(port))
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening.stdout.splitlines()}
    assert addresses, "nothing listens there"
    assert addresses <= {"127.0.0.1", "[::1]"}


@pytest.mark.disturbs
@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_service_comes_back(host, until, name):
    def pid() -> int:
        return int(host.run("systemctl show --value -p MainPID %s", f"{name}.service").stdout)

    before = pid()
    assert before > 0
    assert host.run("kill -KILL %s", str(before)).rc == 0
    until(lambda: pid() not in (0, before) and host.service(name).is_running)
    until(lambda: host.run("systemctl is-system-running").stdout.strip() == "running")
