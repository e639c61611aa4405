"""The suite that looks at a running agency from inside, whatever made it.

    pytest tests/guest --guest-host incus:NAME     a guest of the local Incus
    pytest tests/guest --guest-host ssh:USER@HOST  a host over SSH
    pytest tests/guest --guest-host local          the machine that pytest runs on, as root

Without --guest-host nothing here is collected: there is no machine to look at. Tests leave the
machine as they found it; those that disturb it on purpose (marker `disturbs`) are left out with
--read-only, as on a host that people use.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import testinfra.backend
import testinfra.backend.base
import testinfra.host
from testinfra.host import Host

_TIMEOUT_S = 120


class IncusBackend(testinfra.backend.base.BaseBackend):
    """Runs testinfra's commands by `incus exec`; the instance needs no network for that."""

    NAME = "incus"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.instance = name

    def run(self, command: str, *args: str, **_: Any) -> testinfra.backend.base.CommandResult:
        # testinfra speaks shell; it is the guest's shell that hears it.
        text = self.get_command(command, *args)
        argv = ["incus", "exec", self.instance, "--", "/bin/sh", "-c", text]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
        return self.result(done.returncode, self.encode(text), done.stdout, done.stderr)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("guest")
    group.addoption("--guest-host", help="incus:NAME, ssh:USER@HOST or local")
    group.addoption("--read-only", action="store_true", help="Leave out what disturbs the host.")


def _wanted(config: pytest.Config) -> str | None:
    wanted: str | None = config.getoption("--guest-host", default=None)
    return wanted or os.environ.get("AGENCY_GUEST_HOST")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return True if _wanted(config) is None else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "disturbs: interferes with running services for a moment")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--read-only", default=False):
        items[:] = [item for item in items if item.get_closest_marker("disturbs") is None]


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """The machine under test, as root."""
    kind, _, name = str(_wanted(request.config)).partition(":")
    if kind == "incus":
        return Host(IncusBackend(name))
    backends = {"ssh": f"ssh://{name}", "local": "local://"}
    if kind not in backends:
        raise pytest.UsageError(f"--guest-host: {kind!r} is not incus, ssh or local")
    return testinfra.host.get_host(backends[kind], sudo=False)


@pytest.fixture(scope="session")
def control(host: Host) -> dict[str, Any]:
    """The control plane's configuration on that machine."""
    found: dict[str, Any] = json.loads(host.file("/etc/agency/control.json").content_string)
    return found


@pytest.fixture(scope="session")
def agents(control: dict[str, Any]) -> dict[str, int]:
    """The agents by name, with the port of each."""
    found = {agent["name"]: agent["port"] for agent in control["agents"]}
    assert len(found) >= 2, "isolation can only be shown between two agents"
    return found


@pytest.fixture(scope="session")
def pair(agents: dict[str, int]) -> tuple[str, str]:
    """Two agents."""
    first, second, *_ = sorted(agents)
    return first, second


RunAs = Callable[..., testinfra.backend.base.CommandResult]


@pytest.fixture(scope="session")
def run_as(host: Host) -> RunAs:
    """Runs a command as a user, with that user's groups and nothing of root's."""

    def run_as(user: str, command: str, *args: str) -> testinfra.backend.base.CommandResult:
        group = host.run("id -gn %s", user).stdout.strip()
        text = host.backend.get_command(command, *args)
        wrapped = "setpriv --reuid=%s --regid=%s --init-groups --bounding-set=-all --no-new-privs"
        return host.run(f"cd / && {wrapped} sh -c %s", user, group, text)

    return run_as


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition until it holds, at most 60 seconds."""

    def until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "did not happen in time"
            time.sleep(0.2)

    return until
