"""An Incus of our own: whatever happens between its start and its end, it can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency.guests.incus import daemon as daemons
from agency.guests.incus.daemon import OwnDaemon, answers, connect_incus, stop_if_unused
from agency.guests.incus.errors import IncusError, IncusUnreachableError

# What a daemon is to us: a program that answers on its socket until it is told to end.
ANSWERS = """
import http.server, json, signal, socketserver, sys
if sys.argv[3:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return "unix"
    def log_message(self, *args): pass
    def do_GET(self):
        body = json.dumps({"type": "sync", "metadata": json.loads(sys.argv[2])}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
with socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler) as server:
    print("listens", flush=True)
    server.serve_forever()
"""
GUEST = '[{"name": "g", "type": "container", "status": "Running"}]'


@pytest.fixture
def daemon(tmp_path: Path) -> OwnDaemon:
    own = OwnDaemon(tmp_path)
    own.socket.parent.mkdir()
    return own


@pytest.fixture
def listener(daemon: OwnDaemon, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A simulated daemon with its guests, and perhaps a will of its own."""
    argv = [sys.executable, "-c", ANSWERS, str(daemon.socket), *getattr(request, "param", ["[]"])]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listens\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


async def test_it_is_known_by_its_socket_and_stopped(
    daemon: OwnDaemon, listener: subprocess.Popen[str]
) -> None:
    assert await stop_if_unused(daemon)
    assert listener.wait(30) is not None
    assert not answers(daemon.socket)


@pytest.mark.parametrize("listener", [["[]", "stubborn"]], indirect=True)
async def test_one_that_does_not_listen_to_reason_is_killed(
    daemon: OwnDaemon, listener: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemons, "_STOP_S", 0.5)
    assert await stop_if_unused(daemon)
    assert listener.wait(30) is not None


@pytest.mark.parametrize("listener", [[GUEST]], indirect=True)
async def test_one_that_holds_a_guest_is_left(
    daemon: OwnDaemon, listener: subprocess.Popen[str]
) -> None:
    assert not await stop_if_unused(daemon)
    assert listener.poll() is None


@pytest.mark.parametrize("stale", [False, True])
async def test_where_nobody_listens_there_is_nothing_to_stop(
    stale: bool, daemon: OwnDaemon, listener: subprocess.Popen[str]
) -> None:
    if stale:
        listener.kill()
        listener.wait()
        assert daemon.socket.exists()
    else:
        daemon.socket.unlink()
    assert await stop_if_unused(daemon)
    assert (listener.poll() is None) is not stale, "a stranger is left alone"


async def test_one_that_never_answers_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Seen(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[call-overload]  # passed on as given
            started.append(self)

    program = tmp_path / "incusd"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(daemons.subprocess, "Popen", Seen)
    monkeypatch.setattr(daemons, "_PROGRAMS", (program,))
    monkeypatch.setattr(daemons, "_START_S", 0.5)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(daemons, "_make", lambda path: path.mkdir(exist_ok=True))
    place = tmp_path / "own"
    environ = {daemons.DIRECTORY_VARIABLE: str(place), "INCUS_SOCKET": str(tmp_path / "none")}
    with pytest.raises(IncusUnreachableError, match="does not start"):
        async with connect_incus(environ):
            pass
    assert len(started) == 1
    assert started[0].returncode is not None


class _Racing:
    """A client of an Incus whose pool somebody else makes in between; or nobody does."""

    def __init__(self, *, other: bool) -> None:
        self._other = other
        self._asked = 0

    async def pools(self) -> dict[str, str]:
        self._asked += 1
        return {"agency": "dir"} if self._other and self._asked > 1 else {}

    async def configure(self, settings: dict[str, str]) -> None:
        """Take any."""

    async def create_pool(self, name: str, driver: str) -> None:
        raise IncusError("The storage pool already exists")


async def test_two_that_begin_at_once_share_one_pool() -> None:
    await daemons._prepare(_Racing(other=True))


async def test_a_pool_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(IncusError, match="already exists"):
        await daemons._prepare(_Racing(other=False))
