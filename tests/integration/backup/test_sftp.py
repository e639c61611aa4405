"""A repository on another host by SFTP: Debian's sshd on loopback, and the machine's own ssh."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from backing import HOST, Machine
from debian_programs import CACHE, unpack

from agency import ports
from agency.backup import create_backup, restore_in_place
from agency.backup.opening import open_repository
from agency.backup.restic import RepositoryError
from agency.backup.verify import verify_backup

KEEPER, KEEPER_ID = "keeper", 65534
# Users of its own for sshd, which then needs none of this machine's; $1 has their files.
_ALONE = (
    'mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind "$1/passwd" /etc/passwd &&'
    ' mount --bind "$1/shadow" /etc/shadow && shift && exec "$@"'
)


@dataclass
class Server:
    """An sshd that takes one key, and the directory that its user keeps repositories in."""

    place: Path
    port: int
    user: str

    @property
    def key(self) -> Path:
        return self.place / "user"

    @property
    def known(self) -> Path:
        """Host keys that the machine knows, as programs.ssh.knownHosts makes it know them."""
        return self.place / "known"

    def repository(self, name: str = "repository") -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}/{self.place / 'disk' / name}"

    def says(self, text: str) -> None:
        """Wait until the log has it: sshd notices only after its client has ended."""
        until = time.monotonic() + 20
        while text not in (self.place / "log").read_text():
            assert time.monotonic() < until, (self.place / "log").read_text()
            time.sleep(0.05)

    def know(self, public: str) -> None:
        kind, key = public.split()[:2]
        self.known.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")


def make_key(path: Path) -> str:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=30)
    return path.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def sshd() -> tuple[Path, dict[str, str]]:
    """The program, with a library that this machine may not have."""
    unpacked = CACHE / "sshd"
    if not unpacked.is_dir() and (why := unpack(unpacked, "openssh-server", "libwrap0")):
        pytest.skip(f"sshd is not to be had: {why}")
    (libraries,) = {path.parent for path in unpacked.rglob("libwrap.so.0")}
    return unpacked / "usr/sbin/sshd", {"LD_LIBRARY_PATH": str(libraries)}


@pytest.fixture
def server(sshd: tuple[Path, dict[str, str]]) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        place = Path(name)
        place.chmod(0o755)
        yield from serve(place, *sshd)


def serve(place: Path, program: Path, environment: dict[str, str]) -> Iterator[Server]:
    (place / "disk").mkdir()
    is_root = os.geteuid() == 0
    user = KEEPER if is_root else pwd.getpwuid(os.geteuid()).pw_name
    made = Server(place, ports.assign(("sshd",), {})["sshd"], user)
    (place / "authorized").write_text(make_key(made.key))
    made.know(make_key(place / "host"))
    (place / "config").write_text(
        f"Port {made.port}\nListenAddress 127.0.0.1\nHostKey {place / 'host'}\n"
        f"AuthorizedKeysFile {place / 'authorized'}\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    argv = [str(program), "-D", "-e", "-f", str(place / "config")]
    if is_root:
        ids = f"x:{KEEPER_ID}:{KEEPER_ID}::/:/bin/sh"
        users = f"root:x:0:0::/:/bin/sh\nsshd:x:65533:65534::/:/bin/false\n{KEEPER}:{ids}\n"
        (place / "passwd").write_text(users)
        (place / "shadow").write_text(f"root:*:::::::\nsshd:*:::::::\n{KEEPER}:*:::::::\n")
        os.chown(place / "disk", KEEPER_ID, KEEPER_ID)
        argv = ["unshare", "--mount", "sh", "-c", _ALONE, "sh", str(place), *argv]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=os.environ | environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while "Server listening" not in (place / "log").read_text():
            assert process.poll() is None, (place / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def away(machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine, with its repository there; its ssh knows the host keys of the server's file."""
    programs = machine.place / "programs"
    programs.mkdir()
    ssh = shutil.which("ssh")
    assert ssh is not None
    (programs / "ssh").write_text(
        f'#!/bin/sh\nexec {ssh} -F none -o GlobalKnownHostsFile={server.known} "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    key = machine.credentials / "backup-ssh-key"
    shutil.copy(server.key, key)
    key.chmod(0o400)
    machine.write_config(repository=server.repository())
    return machine


@pytest.mark.thorough
def test_what_was_lost_comes_back_from_another_host(away: Machine, server: Server) -> None:
    files = away.contents()
    create_backup(away.settings, away.clock)
    assert (server.place / "disk/repository/config").is_file(), "it is there and not here"
    assert not away.repository.exists()
    verify_backup(away.settings, away.clock, read_percent=100)
    away.damage()
    asyncio.run(restore_in_place(away.settings, away.clock, replace=HOST))
    assert away.contents() == files


def test_another_key_is_not_let_in(away: Machine, server: Server) -> None:
    assert open_repository(away.settings).exists() is False, "the control: it is let in, and empty"
    server.says("Accepted publickey")
    key = away.credentials / "backup-ssh-key"
    key.unlink()
    make_key(key)
    with pytest.raises(RepositoryError):
        create_backup(away.settings, away.clock)
    server.says("Connection closed by authenticating user")
    assert list((server.place / "disk").iterdir()) == []


@pytest.mark.parametrize("known", ["another", "none"])
def test_a_host_that_is_not_known_is_told_nothing(
    known: str, away: Machine, server: Server
) -> None:
    if known == "another":
        server.know(make_key(server.place / "other"))
    else:
        server.known.write_text("")
    with pytest.raises(RepositoryError):
        create_backup(away.settings, away.clock)
    assert "Accepted" not in (server.place / "log").read_text()
    assert list((server.place / "disk").iterdir()) == []


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ("sftp:agency@backup.example.org:/srv/agency", ("agency@backup.example.org",)),
        ("sftp:backup.example.org:srv", ("backup.example.org",)),
        ("sftp://agency@backup.example.org//srv", ("agency@backup.example.org",)),
        ("sftp://backup.example.org:2222//srv", ("-p", "2222", "backup.example.org")),
    ],
)
def test_ssh_is_told_of_the_host_and_the_port(
    place: str, host: tuple[str, ...], machine: Machine
) -> None:
    (machine.credentials / "backup-ssh-key").write_text("a key")
    machine.write_config(repository=place)
    ssh = open_repository(machine.settings).ssh
    assert ssh[-2 - len(host) :] == (*host, "-s", "sftp")
    assert ssh[-3 - len(host)] == "StrictHostKeyChecking=yes"
