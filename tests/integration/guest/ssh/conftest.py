"""A real OpenSSH server in a guest that has no network: `incus exec` carries the connection.

The guest's image has no SSH server. Its Debian package is fetched, and unpacked, on the host.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
import pytest_asyncio
import sharing

from agency.guests.machines.machine import Guest, GuestFile
from agency.machine.ssh.machine import SshMachine, connected

# The server, and those of its libraries that nothing else in the image needs.
PACKAGES = ("openssh-server", "libwrap0", "libnsl2", "libtirpc3", "libtirpc-common")
NAME = "host-under-test"
ROOT = f"root@{NAME}"
_WANTED = re.compile(r"\./(?:usr/)?(?P<path>sbin/sshd|lib/\S+\.so\.[0-9]+)")
_CONFIG = PurePosixPath("/etc/ssh/test_sshd_config")
_HOST_KEY = PurePosixPath("/etc/ssh/test_host_key")
_KEYS = PurePosixPath("/etc/ssh/test_keys")
_TEXT = f"""\
HostKey {_HOST_KEY}
AuthorizedKeysFile {_KEYS}/%u
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
"""


@dataclass(frozen=True)
class Server:
    """How the server is reached: by `options` of ssh, as NAME."""

    directory: Path
    guest: str

    def options(
        self, *, key: str = "user", known: str = "known_hosts", guest: str | None = None
    ) -> list[str]:
        """The right ones, unless told otherwise."""
        run = f"incus exec -T {guest or self.guest} -- /usr/sbin/sshd -i -f {_CONFIG}"
        return [
            f"IdentityFile={self.directory / key}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.directory / known}",
            "GlobalKnownHostsFile=/dev/null",
            f"ProxyCommand={run}",
        ]


def _key(path: Path) -> str:
    """Make a key; returns its public half."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=20)
    return path.with_name(path.name + ".pub").read_text()


def packages(directory: Path) -> list[Path]:
    """The Debian packages, fetched where they are not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    if not any(directory.glob("openssh-server_*.deb")):
        options = ["-o", "APT::Sandbox::User=root", "-q"]
        argv = ["apt-get", *options, "download", *PACKAGES]
        subprocess.run(argv, check=True, timeout=120, cwd=directory, capture_output=True)
    return sorted(directory.glob("*.deb"))


def programs(debs: list[Path]) -> dict[PurePosixPath, GuestFile]:
    """The server and its libraries, as files of the guest; links are followed."""
    found = {}
    for deb in debs:
        argv = ["dpkg-deb", "--fsys-tarfile", str(deb)]
        data = subprocess.run(argv, check=True, timeout=60, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                wanted = _WANTED.fullmatch(entry.name)
                if wanted and (content := tar.extractfile(entry)):
                    path = PurePosixPath("/usr", wanted["path"])
                    found[path] = GuestFile(content.read(), mode=0o755)
    return found


async def serve(guest: Guest, directory: Path, files: Mapping[PurePosixPath, GuestFile]) -> Server:
    """Have the guest answer, to one key as root and as a user who is not root."""
    public, host_public = _key(directory / "user"), _key(directory / "host")
    _key(directory / "stranger")
    other = _key(directory / "other-host")
    (directory / "known_hosts").write_text(f"{NAME} {host_public}")
    (directory / "changed").write_text(f"{NAME} {other}")
    (directory / "empty").write_text("")
    await guest.write(
        {
            **files,
            _CONFIG: GuestFile(_TEXT.encode()),
            _HOST_KEY: GuestFile((directory / "host").read_bytes(), mode=0o600),
            _KEYS / "root": GuestFile(public.encode()),
            _KEYS / "nobody-special": GuestFile(public.encode()),
        }
    )
    await guest.run("ldconfig")
    await guest.run("useradd", "--system", "--home-dir", "/run/sshd", "sshd")
    # Without a password, and not locked: a locked account is let in by no key.
    await guest.run("useradd", "--create-home", "--password", "*", "nobody-special")
    await guest.run("mkdir", "--parents", "/run/sshd")
    return Server(directory, guest.name)


@pytest.fixture(scope="module")
def private() -> Iterator[Path]:
    """Short, for the socket."""
    with tempfile.TemporaryDirectory(prefix="agency-ssh-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def reach_incus(guest: Guest, private: Path) -> Iterator[None]:
    """What the ProxyCommand needs to reach the tests' own Incus."""
    _, environment = guest.suite_host()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "INCUS_CONF": str(private / "client")}.items():
            patch.setenv(name, value)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(request, guest: Guest, place, private: Path, reach_incus) -> AsyncIterator[Server]:
    keys = private / "keys"
    keys.mkdir()
    files = programs(packages(place.materials / "ssh-server"))
    yield await serve(guest, keys, files)
    if not sharing.is_sharing(request.node.nodeid):
        return
    left = (*files, _CONFIG.parent, "/run/sshd")
    await guest.run("rm", "--recursive", *map(str, left))
    await guest.run("ldconfig")
    await guest.run("userdel", "sshd")
    await guest.run("userdel", "--remove", "nobody-special")


@pytest.fixture
def directory(private: Path) -> Iterator[Path]:
    """For one connection, of which nothing may be left."""
    path = private / "c"
    yield path
    assert not path.exists()


@pytest_asyncio.fixture(loop_scope="module")
async def machine(server: Server, directory: Path, marker: str) -> AsyncIterator[SshMachine]:
    async with connected(
        ROOT, options=server.options(), directory=directory, marker=marker
    ) as machine:
        yield machine
