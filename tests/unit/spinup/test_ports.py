"""Ports: free ones are found, taken ones are named."""

import errno
import socket

import pytest

from agency import ports
from agency.errors import PrerequisiteError


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_differ_and_can_be_bound():
    assigned = ports.assign(("a", "b", "c"), {})
    assert len(set(assigned.values())) == 3
    assert all(ports.is_free(port) for port in assigned.values())


def test_a_pinned_free_port_is_used():
    free = ports.assign(("a",), {})["a"]
    assert ports.assign(("x", "y"), {"y": free})["y"] == free


def test_a_pinned_taken_port_is_refused_by_name(taken):
    with pytest.raises(PrerequisiteError) as caught:
        ports.assign(("homeserver",), {"homeserver": taken})
    assert "homeserver" in str(caught.value)
    assert str(taken) in str(caught.value)
    assert "--port homeserver=" in caught.value.hint


def test_listening_is_seen(taken):
    assert ports.is_listening(taken)
    assert not ports.is_listening(ports.assign(("a",), {})["a"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_addresses_are_told_from_others(host):
    assert ports.is_loopback(host)
    assert not any(map(ports.is_loopback, ("10.0.0.1", "0.0.0.0", "localhost", "")))


def test_the_reason_why_a_server_cannot_listen_is_named(taken):
    with pytest.raises(OSError, match="in use") as caught, socket.socket() as server:
        server.bind(("127.0.0.1", taken))
    assert ports.not_listening(caught.value) == "the port is taken by another program"
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert ports.not_listening(denied) == "cannot listen: Permission denied"
    assert ports.not_listening(OverflowError("too large")) == "cannot listen: too large"
