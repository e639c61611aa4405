"""Listening sockets: held, handed over, taken; refused with the reason."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from agency import listening
from agency.errors import PrerequisiteError, UsageError
from agency.listening import PortTakenError


@pytest.fixture
def held():
    made = listening.hold(("a", "b"), {})
    yield made
    made.close()


def test_a_held_port_is_nobody_elses(held):
    for port in held.numbers.values():
        with pytest.raises(PortTakenError, match="taken by another program"):
            listening.listen(port)
    port = held.numbers["a"]
    held.close()
    listening.listen(port).close()


def test_who_connects_before_anybody_serves_waits(held):
    with socket.create_connection(("127.0.0.1", held.numbers["a"]), 5) as early:
        early.sendall(b"hello")
        held.sockets["a"].setblocking(True)
        late, _ = held.sockets["a"].accept()
        with late:
            assert late.recv(5) == b"hello"


def binds(port: int, host: str, *options: int) -> bool:
    with socket.socket() as attempt:
        for option in options:
            attempt.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            attempt.bind((host, port))
            attempt.listen()
        except OSError:
            return False
        return True


WAYS = [
    (host, *options)
    for host in ("127.0.0.1", "0.0.0.0")
    for options in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT))
]


def test_a_paused_port_refuses_and_is_still_nobody_elses(held):
    each, port = held.sockets["a"], held.numbers["a"]
    for _ in range(2):
        for _ in range(2):
            listening.pause(each)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        assert not any(binds(port, *way) for way in WAYS)
        listening.resume(each)
        each.settimeout(5)
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            server, _ = each.accept()
            with server:
                client.sendall(b"hello")
                assert server.recv(5) == b"hello"
        assert not any(binds(port, *way) for way in WAYS)
    each.shutdown(socket.SHUT_RD)  # paused otherwise: a positive control
    assert binds(port, "127.0.0.1", socket.SO_REUSEADDR)


def leave_lingering(each: socket.socket, port: int) -> None:
    """Leave a connection that was closed at the agency's end first, and so lingers."""
    each.setblocking(True)
    client = socket.create_connection(("127.0.0.1", port), 5)
    server, _ = each.accept()
    server.close()
    client.close()


def test_a_connection_that_lingers_does_not_keep_a_port_from_its_holder(held):
    each, port = held.sockets["a"], held.numbers["a"]
    leave_lingering(each, port)
    listening.pause(each)
    listening.resume(each)
    socket.create_connection(("127.0.0.1", port), 5).close()
    listening.pause(each)
    assert not any(binds(port, *way) for way in WAYS)
    held.close()
    listening.listen(port).close()


def test_who_binds_in_the_moment_of_a_lingering_connection_makes_the_start_fail(held):
    """The only moment at which another program could have the port: it gets no request of ours."""
    each, port = held.sockets["a"], held.numbers["a"]
    leave_lingering(each, port)
    listening.pause(each)
    thieves = []

    class Watched(socket.socket):
        """The held socket, and somebody who waits for the moment."""

        def setsockopt(self, level, option, value):
            super().setsockopt(level, option, value)
            if value and not thieves:
                thief = socket.socket()
                thieves.append(thief)
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                thief.bind(("127.0.0.1", port))
                thief.listen()

    with Watched(fileno=os.dup(each.fileno())) as watched:
        with pytest.raises(PortTakenError, match="taken by another program"):
            listening.resume(watched)
        (thief,) = thieves
        assert not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        thief.close()
        assert not any(binds(port, *way) for way in WAYS), "held as before"
        listening.resume(watched)  # a positive control: nobody takes it now
    with socket.create_connection(("127.0.0.1", port), 5):
        each.accept()[0].close()


def test_one_port_for_two_names_is_refused_by_both_names():
    with pytest.raises(UsageError) as caught:
        listening.hold(("homeserver", "control"), {"homeserver": 12345, "control": 12345})
    assert caught.value.message == "port 12345 is wanted for homeserver and for control"


def test_a_wanted_port_that_is_taken_is_refused_and_nothing_is_held(held):
    port = held.numbers["a"]
    held.close()
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(PortTakenError) as caught,
    ):
        listening.hold(("a", "b"), {"a": port, "b": other.getsockname()[1]})
    assert "for b" in caught.value.message
    assert "--port b=" in caught.value.hint
    listening.listen(port).close()


def test_a_usual_port_that_is_taken_is_replaced(held):
    usual = {"c": held.numbers["a"]}
    again = listening.hold(("c",), {}, usual)
    assert again.numbers["c"] != usual["c"]
    again.close()
    same = listening.hold(("c",), {}, again.numbers)
    assert same.numbers == again.numbers
    same.close()


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(port):
    with pytest.raises(PortTakenError, match="1 to 65535"):
        listening.listen(port)


def test_a_machine_without_loopback_is_told_so(monkeypatch):
    class Nowhere(socket.socket):
        def bind(self, _address):
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", Nowhere)
    with pytest.raises(PrerequisiteError, match=r"no address 127\.0\.0\.1") as caught:
        listening.hold(("a",), {})
    assert "ip address add 127.0.0.1/8 dev lo" in caught.value.hint


def test_a_descriptor_is_taken_once_by_its_address(held):
    port = held.numbers["a"]
    handed = listening.inherited([os.dup(held.sockets["a"].fileno())], {})
    assert handed.take("127.0.0.1", held.numbers["b"]) is None
    taken = handed.take("127.0.0.1", port)
    assert taken.getsockname()[1] == port
    assert not os.get_inheritable(taken.fileno())
    assert handed.take("127.0.0.1", port) is None
    taken.close()


def test_what_does_not_listen_is_refused(tmp_path):
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    with socket.socket() as idle:
        for number, why in (
            (os.dup(idle.fileno()), "no TCP socket with a port"),
            (file, "non-socket"),
            (987, "Bad file"),
        ):
            with pytest.raises(PrerequisiteError, match=why):
                listening.inherited([number], {})
    os.close(file)


# As systemd does: descriptors from 3 on, and the pid of the process that they are for.
SERVER = """
import os, sys
from agency import listening
if sys.argv[2:]:
    os.environ["LISTEN_PID"] = sys.argv[2]
taken = listening.inherited().take("127.0.0.1", int(sys.argv[1]))
print(taken is not None, sorted(name for name in os.environ if name.startswith("LISTEN")))
"""
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="x.socket")
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[2:]])
"""


@pytest.mark.parametrize(("other", "taken"), [((), True), (("1",), False)])
def test_sockets_of_systemd_are_taken_if_they_are_for_this_process(held, other, taken):
    descriptor = held.sockets["a"].fileno()
    argv = [sys.executable, "-c", LAUNCHER, str(descriptor), SERVER, str(held.numbers["a"]), *other]
    done = subprocess.run(
        argv, pass_fds=[descriptor, 3], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == f"{taken} []", done.stderr
