"""Offline, and proven so from inside. Only for guests: a real host has a network."""

import pytest

TCP = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture(autouse=True)
def only_a_guest(request):
    if not str(request.config.getoption("--guest-host")).startswith("incus:"):
        pytest.skip("a host that people use has a network")


def test_there_is_no_interface_but_loopback(host):
    assert host.run("ls /sys/class/net").stdout.split() == ["lo"]
    assert host.run("ip route show table main").stdout == ""


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_nothing_leads_out(host, address):
    done = host.run("python3 -c %s %s 443", TCP, address)
    assert done.rc != 0
    assert "unreachable" in done.stderr


def test_loopback_works(host):
    assert host.run("python3 -c %s 127.0.0.1 8008", TCP).rc == 0
