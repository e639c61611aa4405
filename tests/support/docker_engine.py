"""A real Docker Engine for tests: private, without a network of its own.

Its socket, data and pid file are the test's; it is ended by its pid, and what it mounted is
unmounted. The kernel's state that it needs (a network namespace) is unshared, so that nothing of
it reaches the machine that runs the tests.

Where it cannot run, its tests are skipped; with AGENCY_REQUIRE_DOCKER (`make test-docker`) they
fail.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import pytest

IMAGE = "agency-test/busybox:1"
_UNSHARED = ("unshare", "--net", "--mount", "--propagation", "private", "--")
_SETUP = 'ip link set lo up && exec "$@"'
_COUNT = itertools.count()


@dataclass
class Engine:
    """A Docker Engine with everything of it below `place`, but for its socket."""

    place: Path
    socket: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cli(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run the docker command line against it; this is how a person would look."""
        done = subprocess.run(
            ["docker", "--host", self.url, *arguments],
            input=stdin,
            capture_output=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(self.socket.parent)},
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.cli(kind, "inspect", name))[0]

    def reset(self) -> None:
        """Remove everything and leave the swarm, so that the next test begins with nothing."""
        if self.cli("info", "--format", "{{.Swarm.ControlAvailable}}") == "true":
            for service in self.cli("service", "ls", "-q").split():
                self.cli("service", "rm", service)
            # A network whose containers are still ending would outlive its swarm.
            deadline = time.monotonic() + 60
            while self.cli("ps", "-aq"):
                assert time.monotonic() < deadline, "containers of a removed service do not end"
                time.sleep(0.1)
            self._remove_networks()
            self.cli("swarm", "leave", "--force")
        self._remove_networks()

    def _remove_networks(self) -> None:
        lines = self.cli(
            "network", "ls", "--format", "{{.ID}} {{.Name}}", "--filter", "type=custom"
        )
        for identifier, name in (line.split() for line in lines.splitlines()):
            if name not in ("ingress", "docker_gwbridge"):  # the swarm's own
                self.cli("network", "rm", identifier)

    def start(self) -> None:
        """Start it, the first time or again; return when it answers."""
        argv = [
            *_UNSHARED,
            "sh",
            "-c",
            _SETUP,
            "sh",
            "dockerd",
            f"--host={self.url}",
            f"--data-root={self.place / 'data'}",
            f"--exec-root={self.place / 'exec'}",
            f"--pidfile={self.place / 'docker.pid'}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--live-restore=false",
            "--log-level=warn",
        ]
        log = self.place / "dockerd.log"
        with log.open("ab") as sink:
            self._process = subprocess.Popen(argv, stdout=sink, stderr=sink, start_new_session=True)
        _wait(self._process, self.socket, log)

    def stop(self) -> None:
        """End it, and its containers with it."""
        if self._process is not None:
            _stop(self._process)
            self._process = None


REQUIRE = "AGENCY_REQUIRE_DOCKER"


def refuse(reason: str) -> NoReturn:
    """Skip the test, or fail it where a Docker Engine is demanded."""
    if os.environ.get(REQUIRE):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "a Docker Engine needs root"
    for program in ("dockerd", "docker", "containerd", "busybox", "unshare", "ip"):
        if shutil.which(program) is None:
            return f"there is no {program} (Debian: docker.io, busybox-static, iproute2)"
    return None


@contextlib.contextmanager
def private_engine(place: Path) -> Iterator[Engine]:
    """Run an engine below a directory; skip or fail the test where none can run."""
    reason = _missing()
    if reason is not None:
        refuse(f"no real Docker Engine: {reason}")
    socket = Path("/run") / f"agency-test-docker-{os.getpid()}-{next(_COUNT)}.sock"
    engine = Engine(place, socket)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        for mount in _mounts_under(place):
            subprocess.run(["umount", "--lazy", mount], check=False)
        socket.unlink(missing_ok=True)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            refuse(f"dockerd does not run on this machine:\n{log.read_text()[-2000:]}")
        probe = ["docker", "--host", f"unix://{socket}", "version"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"dockerd did not answer:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _mounts_under(place: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    mounts = [line.split()[1] for line in lines]
    return sorted((m for m in mounts if m.startswith(f"{place}/")), reverse=True)


def busybox_rootfs(programs: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    """A root file system with busybox, and given programs by their paths, as a tarball."""
    busybox = Path(str(shutil.which("busybox"))).read_bytes()
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        member = tarfile.TarInfo("bin/busybox")
        member.mode, member.size = 0o755, len(busybox)
        tar.addfile(member, io.BytesIO(busybox))
        for name in ("sh", "sleep", "true", "false", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for path, data in programs.items():
            member = tarfile.TarInfo(path)
            member.mode, member.size = 0o755, len(data)
            tar.addfile(member, io.BytesIO(data))
        for name in ("tmp", "etc", "proc", "run"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
    return sink.getvalue()
