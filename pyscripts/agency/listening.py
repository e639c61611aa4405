"""Listening sockets: made by who holds a port, handed to the program that serves it.

    supervisor, runtime or systemd          program that serves
      hold / listen ──▶ socket ── descriptor ──▶ inherited ──▶ take(host, port)

A port is held by a socket for as long as its holder lives: between two runs of the program that
serves it, no other program can bind it. While the socket listens, who connects waits in the
kernel's queue; while it is paused, they are refused. A socket that is only bound would hold
nothing: with SO_REUSEADDR, which a server needs to start again soon, a second one may be bound
beside it (socket(7)). So the option is taken from a paused socket.

Descriptors come in two ways: from systemd, by the variables of sd_listen_fds(3); from a parent of
ours, by the option `--listen-fd`. A parent does not know the pid of a child before it runs, nor can
it number descriptors from 3 on without code between fork and exec, so it cannot use the former.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from agency.errors import PrerequisiteError, UsageError
from agency.ports import FREE_RANGE, LOOPBACK, not_listening

_BACKLOG = 128
_ATTEMPTS = 200
_FIRST_OF_SYSTEMD = 3
_SYSTEMD = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_MAX_DESCRIPTORS = 1024
_NO_LOOPBACK = "`ip address add 127.0.0.1/8 dev lo` and `ip link set lo up` make it"

Address = tuple[str, int]


class PortTakenError(PrerequisiteError):
    """A port that another program has, or that this one may not use."""


def listen(port: int, host: str = LOOPBACK, *, hint: str = "end that program") -> socket.socket:
    """Make a socket that listens on a port.

    Raises:
        PortTakenError: another program has the port, or it may not be used.
        PrerequisiteError: the machine does not have the address.
    """
    if not 0 < port < 65536:
        raise PortTakenError("a port is 1 to 65535", where=f"{host}:{port}", hint=hint)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made: socket.socket | None = None
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        if made is not None:
            made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise PrerequisiteError(
                f"this machine, or its network namespace, has no address {host}",
                where=f"{host}:{port}",
                hint=_NO_LOOPBACK if host == LOOPBACK else "configure that address",
            ) from error
        raise PortTakenError(not_listening(error), where=f"{host}:{port}", hint=hint) from error
    made.setblocking(False)  # asyncio asks for it; the setting is shared with all who inherit it
    return made


def pause(listening: socket.socket) -> None:
    """Refuse connections on a held port, and keep it; safe to repeat.

    Every process that has the descriptor stops to listen with this one.
    """
    # In this order: bound, not listening and reusable is what others can bind beside.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    # A second shutdown would mark the socket itself, and every later connection would inherit that.
    if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.shutdown(socket.SHUT_RD)


def resume(listening: socket.socket, *, hint: str = "end that program") -> None:
    """Accept connections again on a held port, from now on in the kernel's queue.

    Raises:
        PortTakenError: another program got the port after all; see below.
    """
    try:
        listening.listen(_BACKLOG)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:  # an old connection lingers on the port (TIME_WAIT)
        # Between these two calls another program could bind and listen. Then this one cannot, so
        # that a start is refused; nobody is asked in its place.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.listen(_BACKLOG)
        except OSError as error:
            pause(listening)
            host, port = listening.getsockname()[:2]
            raise PortTakenError(not_listening(error), where=f"{host}:{port}", hint=hint) from error


@dataclass(frozen=True, slots=True)
class Held:
    """Listening sockets of one holder and their ports, by the name of what is served there."""

    sockets: Mapping[str, socket.socket]
    numbers: Mapping[str, int]

    def close(self) -> None:
        """Let every port go; safe to repeat."""
        for each in self.sockets.values():
            each.close()


def hold(
    names: Iterable[str], wanted: Mapping[str, int], usual: Mapping[str, int] | None = None
) -> Held:
    """Listen on a port for each name: the wanted one, its usual one if that is free, or any.

    Raises:
        UsageError: two names want one port.
        PortTakenError: a wanted port is taken.
        PrerequisiteError: no port is free, or loopback has no address.
    """
    chosen, usual = tuple(names), usual or {}
    _refuse_shared({name: wanted[name] for name in chosen if name in wanted})
    with contextlib.ExitStack() as made:
        sockets: dict[str, socket.socket] = {}
        for name in sorted(chosen, key=lambda each: each not in wanted):  # the wanted ones first
            sockets[name] = made.enter_context(_chosen(name, wanted, usual))
        made.pop_all()
    return Held(
        {name: sockets[name] for name in chosen},
        {name: int(sockets[name].getsockname()[1]) for name in chosen},
    )


def _refuse_shared(wanted: Mapping[str, int]) -> None:
    owners: dict[int, str] = {}
    for name, port in wanted.items():
        if port in owners:
            raise UsageError(
                f"port {port} is wanted for {owners[port]} and for {name}",
                where=f"{LOOPBACK}:{port}",
                hint=f"give each its own: --port {name}=NUMBER",
            )
        owners[port] = name


def _chosen(name: str, wanted: Mapping[str, int], usual: Mapping[str, int]) -> socket.socket:
    if name in wanted:
        try:
            hint = f"end that program, or choose another port: --port {name}=NUMBER"
            return listen(wanted[name], hint=hint)
        except PortTakenError as error:
            error.message = f"port {wanted[name]} for {name}: {error.message}"
            raise
    if name in usual:
        with contextlib.suppress(PortTakenError):
            return listen(usual[name])
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(PortTakenError):
            return listen(secrets.choice(FREE_RANGE))
    raise PrerequisiteError(
        "no free port was found", where=f"{LOOPBACK}:{FREE_RANGE.start}-{FREE_RANGE.stop - 1}"
    )


@dataclass(slots=True)
class Inherited:
    """Listening sockets that a parent or systemd handed over, each until it is taken."""

    _by_address: dict[Address, socket.socket] = field(default_factory=dict)

    def take(self, host: str, port: int) -> socket.socket | None:
        """Take the socket that listens on an address; None if it was not handed over."""
        return self._by_address.pop((host, port), None)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._by_address)


def inherited(
    descriptors: Iterable[int] = (),
    environ: MutableMapping[str, str] = os.environ,
    pid: int | None = None,
) -> Inherited:
    """Collect the sockets named by `--listen-fd`, and those that systemd passed to this process.

    Children inherit neither the descriptors nor systemd's variables.

    Raises:
        PrerequisiteError: a descriptor is no TCP socket that has a port.
    """
    numbers = (*descriptors, *_of_systemd(environ, os.getpid() if pid is None else pid))
    sockets = (_adopt(number) for number in dict.fromkeys(numbers))
    return Inherited({each.getsockname()[:2]: each for each in sockets})


def _of_systemd(environ: MutableMapping[str, str], pid: int) -> tuple[int, ...]:
    told = {name: environ.pop(name, "") for name in _SYSTEMD}
    if told["LISTEN_PID"] != str(pid) or not told["LISTEN_FDS"].isdecimal():
        return ()
    count = min(int(told["LISTEN_FDS"]), _MAX_DESCRIPTORS)
    return tuple(range(_FIRST_OF_SYSTEMD, _FIRST_OF_SYSTEMD + count))


def _adopt(descriptor: int) -> socket.socket:
    try:
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _refused(descriptor, error.strerror or str(error)) from error
    tcp = adopted.family in (socket.AF_INET, socket.AF_INET6) and adopted.type == socket.SOCK_STREAM
    if not tcp or not adopted.getsockname()[1]:
        adopted.close()
        raise _refused(descriptor, "it is no TCP socket with a port")
    adopted.set_inheritable(False)
    adopted.setblocking(False)
    return adopted


def _refused(descriptor: int, reason: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"cannot take over the listening socket: {reason}",
        where=f"descriptor {descriptor}",
        hint="start this program by its supervisor or its socket unit, or without --listen-fd",
    )
