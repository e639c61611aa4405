"""Promise: a guest is offline, and proven so from inside. A real host has a network."""

import json

import pytest
from claim import HAS_NETWORK

from agency import naming

# Of a Docker inside the guest, as part `recipes` of a profile has one.
BRIDGES = ("docker0", "docker_gwbridge")
TCP = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"


@pytest.fixture
def only_a_guest(is_guest):
    if not is_guest:
        pytest.skip(HAS_NETWORK.reason)


@pytest.mark.claim("no-interface", "offline", disturbs=False, may_skip=(HAS_NETWORK,))
def test_there_is_no_interface_but_loopback(host, only_a_guest):
    inner = links_of_docker(host)
    assert {*host.run("ls /sys/class/net").stdout.split()} - inner == {"lo"}
    for version in ("-4", "-6"):
        routes = json.loads(host.run("ip -json %s route show table main", version).stdout or "[]")
        leading = [one for one in routes if one["dst"] == "default" or "gateway" in one]
        assert leading == []
        assert {one["dev"] for one in routes} - inner <= {"lo"}


def links_of_docker(host):
    """Bridges of a Docker in the guest, and its containers' ends at them: none leads out of it."""
    links = json.loads(host.run("ip -json -details link").stdout)
    kinds = {one["ifname"]: one.get("linkinfo", {}).get("info_kind") for one in links}
    bridges = {name for name in BRIDGES if kinds.get(name) == "bridge"}
    ends = {one["ifname"] for one in links if one.get("master") in bridges}
    return bridges | {name for name in ends if kinds[name] == "veth"}


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
