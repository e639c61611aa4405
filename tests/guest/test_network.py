"""Promise: a guest is offline, and proven so from inside. A real host has a network."""

import pytest
from claim import HAS_NETWORK

from agency import naming

TCP = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture
def only_a_guest(is_guest):
    if not is_guest:
        pytest.skip(HAS_NETWORK.reason)


@pytest.mark.claim("no-interface", "offline", disturbs=False, may_skip=(HAS_NETWORK,))
def test_there_is_no_interface_but_loopback(host, only_a_guest):
    assert host.run("ls /sys/class/net").stdout.split() == ["lo"]
    for version in ("-4", "-6"):
        routes = host.run("ip %s route show table main", version).stdout.splitlines()
        assert [line for line in routes if "dev lo" not in line] == []


@pytest.mark.claim("no-way-out", "offline", disturbs=False, may_skip=(HAS_NETWORK,))
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_nothing_leads_out(host, only_a_guest, python, address):
    done = host.run("%s -I -c %s %s 443", python, TCP, address)
    assert done.rc != 0
    assert "unreachable" in done.stderr


@pytest.mark.claim("loopback-works", "offline", disturbs=False, control=True)
def test_loopback_works(host, python):
    port = str(naming.SERVICE_PORTS["synapse"])
    assert host.run("%s -I -c %s 127.0.0.1 %s", python, TCP, port).rc == 0
