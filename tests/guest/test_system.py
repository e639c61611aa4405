"""Promise: everything that the agency is made of runs, and nothing has failed."""

import pytest

from agency import naming

SERVICES = ("postgresql", "matrix-synapse", "agency-control")
SOCKETS = ("agency-audit.socket", "agency-control.socket")


@pytest.mark.claim("nothing-failed", "all-runs", disturbs=False)
def test_nothing_has_failed(host):
    assert host.run("systemctl list-units --failed --no-legend").stdout == ""
    assert host.run("systemctl is-system-running").stdout.strip() == "running"


@pytest.mark.claim("services-run", "all-runs", disturbs=False)
@pytest.mark.parametrize("name", SERVICES)
def test_what_the_agency_is_made_of_runs(host, name):
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled or name == "postgresql"


@pytest.mark.claim("sockets-listen", "all-runs", disturbs=False)
@pytest.mark.parametrize("name", SOCKETS)
def test_its_sockets_listen(host, name):
    assert host.run("systemctl show --value -p SubState %s", name).stdout.strip() in (
        "listening",
        "running",
    )


@pytest.mark.claim("absent-service-noticed", "all-runs", disturbs=False, control=True)
def test_a_service_that_does_not_exist_does_not_run(host):
    assert not host.service("no-such-service").is_running
    assert host.run("systemctl show --value -p SubState no-such.socket").stdout.strip() == "dead"


@pytest.mark.claim("services-on-loopback", "all-runs", disturbs=False)
@pytest.mark.parametrize("port", [naming.SERVICE_PORTS["synapse"], naming.SERVICE_PORTS["control"]])
def test_services_listen_on_loopback_alone(host, port):
    listening = host.run("ss --no-header --listening --tcp --numeric 'sport = :%s'", str(port))
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening.stdout.splitlines()}
    assert addresses, "nothing listens there"
    assert addresses <= {"127.0.0.1", "[::1]"}


@pytest.mark.claim("free-port-silent", "all-runs", disturbs=False, control=True)
def test_nothing_listens_on_a_port_of_nobody(host):
    assert host.run("ss --no-header --listening --tcp --numeric 'sport = :9'").stdout == ""
