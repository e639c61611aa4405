"""A repository on restic's own REST server (Debian 13's), by TLS and with a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import DAY, NOW, Authority
from backing import HOST, Machine
from debian_programs import CACHE, unpack

from agency import ports
from agency.backup import create_backup, opening, restic, restore_in_place
from agency.backup.restic import RepositoryError
from agency.backup.verify import verify_backup

USER, LOGIN = "agency", "p/ä:ss@w?rd"  # what an address must escape
Trusting = Callable[..., None]


@dataclass(frozen=True)
class Server:
    """A server that runs, and the directory of its repositories."""

    place: Path
    port: int

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def address(self, name: str = "repository") -> str:
        return f"rest:https://127.0.0.1:{self.port}/{name}/"

    @property
    def repositories(self) -> list[Path]:
        return [one for one in (self.place / "data").iterdir() if one.is_dir()]


@pytest.fixture(scope="module")
def program() -> Path:
    unpacked = CACHE / "restic-rest-server"
    if not unpacked.is_dir() and (why := unpack(unpacked, "restic-rest-server", suite="trixie")):
        pytest.skip(f"restic's server is not to be had: {why}")
    return unpacked / "usr/bin/restic-rest-server"


Serve = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture
def serve(program: Path, authority: Authority, tmp_path: Path) -> Serve:
    """Serve one directory, by a certificate for the names."""

    @contextlib.contextmanager
    def serving(
        *argv: str,
        names: tuple[str, ...] = ("127.0.0.1",),
        by: Authority = authority,
        days: int = 9,
    ) -> Iterator[Server]:
        place = tmp_path / "server"
        (place / "data").mkdir(parents=True, exist_ok=True)
        certificate, key = by.issue(*names, end=NOW + days * DAY)
        (place / "certificate").write_bytes(certificate)
        (place / "key").write_bytes(key)
        digest = base64.b64encode(hashlib.sha1(LOGIN.encode()).digest()).decode()
        (place / "users").write_text(f"{USER}:{{SHA}}{digest}\n")
        made = Server(place, ports.assign(["rest"], {})["rest"])
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(str(program), "--path", str(place / "data"), "--log", "-"),
                    *("--listen", f"127.0.0.1:{made.port}", "--tls"),
                    *("--tls-cert", str(place / "certificate"), "--tls-key", str(place / "key")),
                    *("--htpasswd-file", str(place / "users"), *argv),
                ],
                stdout=log,
                stderr=log,
            )
        try:
            until = time.monotonic() + 20
            while not ports.is_listening(made.port):
                assert process.poll() is None, made.log
                assert time.monotonic() < until
                time.sleep(0.05)
            yield made
        finally:
            process.terminate()
            process.wait(20)

    return serving


def point(machine: Machine, server: Server, password: str = LOGIN, **more: object) -> None:
    """Have the machine's backups there, with what opens it."""
    credentials = machine.credentials / "backup-repository-credentials"
    credentials.write_text(f"RESTIC_REST_USERNAME={USER} RESTIC_REST_PASSWORD={password}\n")
    machine.write_config(repository=server.address(), **more)


@pytest.mark.parametrize("which", ["machine", pytest.param("newer", marks=pytest.mark.thorough)])
def test_what_was_lost_comes_back(
    which: str, machine: Machine, serve: Serve, trusting: Trusting
) -> None:
    trusting(which)
    files = machine.contents()
    with serve() as server:
        point(machine, server)
        assert create_backup(machine.settings, machine.clock).initialised
        assert [one.name for one in server.repositories] == ["repository"]
        assert not machine.repository.exists()
        assert verify_backup(machine.settings, machine.clock, read_percent=100).ok
        machine.damage()
        asyncio.run(restore_in_place(machine.settings, machine.clock, replace=HOST))
    assert machine.contents() == files


@pytest.mark.parametrize("which", ["machine", pytest.param("newer", marks=pytest.mark.thorough)])
def test_a_wrong_login_is_refused_and_not_told(
    which: str, machine: Machine, serve: Serve, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(which)
    monkeypatch.setattr(restic, "OPEN_S", 10)
    with serve() as server:
        point(machine, server)
        assert opening.open_repository(machine.settings).exists() is False, "the control"
        point(machine, server, password="not/it:at=all")
        with pytest.raises(RepositoryError, match="401") as raised:
            create_backup(machine.settings, machine.clock)
        assert raised.value.exit_code == 3
        told = str(raised.value.as_dict()) + repr(opening.open_repository(machine.settings))
        assert "not/it" not in told
        assert "not%2Fit" not in told
        assert server.repositories == []


@pytest.mark.parametrize("wrong", ["authority", "name", "date"])
def test_a_server_that_proves_nothing_is_told_nothing(
    wrong: str, machine: Machine, serve: Serve, trusting: Trusting, authority: Authority
) -> None:
    trusting()
    with serve() as server:
        point(machine, server)
        assert opening.open_repository(machine.settings).exists() is False, "the control"
        assert "HEAD /repository/config" in server.log
    names = ("backup.example.org",) if wrong == "name" else ("127.0.0.1",)
    by = Authority() if wrong == "authority" else authority
    with serve(names=names, by=by, days=-1 if wrong == "date" else 9) as server:
        point(machine, server)
        with pytest.raises(RepositoryError, match=r"x509|certificate") as raised:
            create_backup(machine.settings, machine.clock)
        assert raised.value.exit_code == 3
        assert "/repository/" not in server.log
        assert server.repositories == []


@pytest.mark.parametrize("which", ["machine", pytest.param("newer", marks=pytest.mark.thorough)])
def test_a_server_that_is_gone_is_told(
    which: str, machine: Machine, serve: Serve, trusting: Trusting, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting(which)
    monkeypatch.setattr(restic, "OPEN_S", 10)
    with serve() as server:
        point(machine, server)
        create_backup(machine.settings, machine.clock)
        last = (machine.place / "state/last-success.json").read_bytes()
    with pytest.raises(RepositoryError, match="connection refused") as raised:
        create_backup(machine.settings, machine.clock)
    assert raised.value.exit_code == 3
    assert (machine.place / "state/last-success.json").read_bytes() == last


ONE_A_DAY = {"daily": 1, "weekly": 0, "monthly": 0}


def test_what_may_only_grow_keeps_every_snapshot(
    machine: Machine, serve: Serve, trusting: Trusting
) -> None:
    """A machine in wrong hands cannot remove its backups, and its own rhythm does not fail."""
    trusting()
    with serve("--append-only") as server:
        point(machine, server, retention=ONE_A_DAY, append_only=True)
        for _ in range(2):
            assert create_backup(machine.settings, machine.clock).removed == 0
        snapshots = server.place / "data/repository/snapshots"
        assert len(list(snapshots.iterdir())) == 2
        assert verify_backup(machine.settings, machine.clock, read_percent=100).ok
        by_hand = delete(machine, server, next(snapshots.iterdir()).name)
        assert by_hand == "403"
        assert len(list(snapshots.iterdir())) == 2
    with serve() as server:  # the control: the same request, of a server that lets things go
        assert delete(machine, server, next(snapshots.iterdir()).name) == "200"
        assert len(list(snapshots.iterdir())) == 1
        point(machine, server, retention=ONE_A_DAY, append_only=False)
        assert create_backup(machine.settings, machine.clock).removed == 1


def delete(machine: Machine, server: Server, snapshot: str) -> str:
    """Ask the server to remove a snapshot, as somebody with the machine's own credentials."""
    url = server.address().removeprefix("rest:") + f"snapshots/{snapshot}"
    argv = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-X", "DELETE", "-K", "-", url]
    argv += ["--cacert", str(machine.place / "trusted.pem")]
    login = f'user = "{USER}:{LOGIN}"'
    return subprocess.run(
        argv, input=login, capture_output=True, text=True, check=True, timeout=30
    ).stdout


@pytest.mark.thorough
def test_a_place_that_only_grows_is_named_where_the_settings_do_not(
    machine: Machine, serve: Serve, trusting: Trusting
) -> None:
    """Restic tries for most of a minute; the snapshot is there, and the last success says so."""
    trusting()
    with serve("--append-only") as server:
        point(machine, server, retention=ONE_A_DAY)
        create_backup(machine.settings, machine.clock)
        with pytest.raises(RepositoryError, match="was made, but old ones stay") as raised:
            create_backup(machine.settings, machine.clock)
    assert "appendOnly: true" in str(raised.value.hint)
