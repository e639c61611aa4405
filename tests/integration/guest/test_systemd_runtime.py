"""The runtime `systemd`, as the user and with the rights that it has on a real host."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import pytest_asyncio

from agency import naming
from agency.guests.images.layout import PREFIX, WHEELS, pip_install
from agency.guests.images.prepare import Materials
from agency.guests.images.wheelhouse import Ingredients, hold_libraries
from agency.guests.machines.machine import Guest, GuestFile
from agency.machine.machine import Completed

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "modules" / "portable" / "machine"
TESTS = PurePosixPath("/opt/tests")
LIBRARIES = TESTS / "libraries"  # those of the tests, beside the project's own
STATE = PurePosixPath("/var/lib/agency-control")
CONTROL_DROP_INS = PurePosixPath("/etc/systemd/system/agency-control.service.d")
SYSUSERS = PurePosixPath("/etc/sysusers.d")
AGENT_DROP_INS = PurePosixPath("/etc/systemd/system/agency-agent@.service.d")
AGENTS = ("pm", "developer", "tester")
RUNNER = ("pytest", "pytest-asyncio", "pytest-timeout", "iniconfig", "pluggy", "packaging")
PYTHON = str(PREFIX / "bin" / "python")
# As the control plane, and with the right to kill agents behind its back, which it does not have.
AS_CONTROL = (
    *("setpriv", "--reuid=agency-control", "--regid=agency-control"),
    "--groups=systemd-journal",
    *("--inh-caps=+kill", "--ambient-caps=+kill"),
)
# The tests take free ports; which ports an agent may use is not theirs to show.
ANY_PORT = b"[Service]\nSocketBindDeny=\n"

ASK = """
import asyncio, sys
from agency.systemd.connection import Connection
from agency.systemd.errors import SystemdError
from agency.systemd.units import Units
async def main():
    connection = Connection()
    try:
        await getattr(Units(connection), sys.argv[1])(sys.argv[2], timeout_s=20)
    except SystemdError as error:
        sys.exit(str(error))
    finally:
        await connection.close()
asyncio.run(main())
"""

# What the control plane does for `agents start`, `status`, `logs` and `stop`, from inside its unit.
INSIDE = """
import asyncio, json, os
from pathlib import Path
from agency.control.runtimes.base import StartRequest
from agency.control.runtimes.systemd import SystemdRuntime
from agency.errors import AgencyError

async def main():
    directory = Path(os.environ["RUNTIME_DIRECTORY"]) / "agents"
    runtime = SystemdRuntime(directory, port_of=lambda _: 23999)
    seen = {}
    try:
        started = await runtime.start(StartRequest("pm", "pm", None, "trace-inside"))
        seen["started"] = str(started.state)
        for _ in range(200):
            log = await runtime.log_tail("pm", 20)
            if any("trace-inside" in line for line in log):
                break
            await asyncio.sleep(0.1)
        seen["log"] = log
        seen["memory"] = (await runtime.usage("pm")).memory
    except AgencyError as error:
        seen["error"] = str(error)
    seen["stopped"] = str((await runtime.stop("pm")).state)
    (Path(os.environ["STATE_DIRECTORY"]) / "seen.json").write_text(json.dumps(seen))
    await runtime.close()

asyncio.run(main())
"""
# The very unit, but for what it runs and the secrets that this machine does not have.
INSTEAD = f"""[Service]
Type=oneshot
Restart=no
LoadCredential=
ExecStart=
ExecStart={PYTHON} {TESTS}/inside.py
"""


def pins(names: tuple[str, ...]) -> str:
    """Those of the pinned requirements for development."""
    text = (ROOT / "requirements" / "dev.txt").read_text()
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)
    return "".join(block for block in blocks if block.split("==")[0] in names)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(
    guest: Guest, materials: Materials, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Guest]:
    """A guest with the project, its agents' users and unit, and the tests of runtimes."""
    requirements = tmp_path_factory.mktemp("pins") / "runner.txt"
    requirements.write_text(pins(RUNNER))
    await _install_tests(guest, materials, requirements)
    users = [f"u {naming.agent_user(name)} {4100 + n}:agents" for n, name in enumerate(AGENTS)]
    exported = (
        "usr/lib/sysusers.d/agency.conf",
        "etc/systemd/system/agency-agent@.service",
        "etc/systemd/system/agency-control.service",
        "etc/systemd/system/agency-control.socket",
        "etc/systemd/system/agency-agents.slice",
        "etc/polkit-1/rules.d/50-agency.rules",
    )
    files = {PurePosixPath("/", path): GuestFile((UNITS / path).read_bytes()) for path in exported}
    files[SYSUSERS / "agents.conf"] = GuestFile(("\n".join(users) + "\n").encode())
    files[AGENT_DROP_INS / "test.conf"] = GuestFile(ANY_PORT)
    await guest.write(files)
    await guest.run("systemd-sysusers")
    for name in AGENTS:
        user = naming.agent_user(name)
        await guest.run("install", "-d", "-m", "0700", "-o", user, "-g", "agents", f"/home/{user}")
    await guest.run(
        *("install", "-d", "-m", "0700", "-o", "agency-control", "-g", "agency-control"),
        "/run/agency-control",
    )
    await guest.run("systemctl", "daemon-reload")
    await guest.run("systemctl", "restart", "polkit")
    yield guest
    await _remove(guest, (*files, CONTROL_DROP_INS))


async def _remove(guest: Guest, files: Iterable[PurePosixPath]) -> None:
    """Leave the guest as it was found."""
    agents = [naming.agent_user(name) for name in AGENTS]
    control = ("agency-control.socket", "agency-control.service")
    await guest.run("systemctl", "stop", *control, naming.agent_unit("*"))
    await guest.look("systemctl", "reset-failed", "agency-*")
    homes = [f"/home/{user}" for user in agents]
    kept = (
        TESTS,
        WHEELS,
        STATE,
        "/run/agency-control",
        "/run/agency-redeem",
        AGENT_DROP_INS,
        *homes,
        SYSUSERS,
    )
    await guest.run("rm", "--recursive", "--force", *map(str, (*files, *kept)))
    for user in (*agents, "agency-control", "matrix-synapse"):
        await guest.run("userdel", user)
    await guest.run("groupdel", "agents")
    await guest.run("systemctl", "daemon-reload")
    await guest.run("systemctl", "stop", "polkit", "nftables")  # which it began, or needed


async def _install_tests(guest: Guest, materials: Materials, requirements: Path) -> None:
    base = materials.image.directory.parents[1]
    ingredients = Ingredients(requirements, materials.recipe)
    async with hold_libraries(base / "runner", ingredients, marker="agency-tests") as runner:
        wheels = [*runner.directory.iterdir()]
        await guest.write({WHEELS / w.name: GuestFile(w.read_bytes()) for w in wheels})
    argv = pip_install(WHEELS / runner.requirements.name)
    await guest.run(*argv, "--target", str(LIBRARIES), timeout_s=120)
    suite = sorted((ROOT / "tests/integration/runtimes").glob("*.py"))
    await guest.write({TESTS / path.name: GuestFile(path.read_bytes()) for path in suite})


async def test_it_conforms(host: Guest) -> None:
    done = await _pytest(host, "test_conformance.py")
    report = done.stdout.decode(errors="replace")
    assert done.exit_status == 0, report[-8000:]
    assert re.search(r"\d\d passed", report)
    assert "skipped" not in report


async def _pytest(host: Guest, file: str) -> Completed:
    options = ("--import-mode=importlib", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    argv = (*AS_CONTROL, PYTHON, "-m", "pytest", "-q", "-c", "/dev/null", f"--rootdir={TESTS}")
    return await host.look(
        *("env", f"--chdir={TESTS}", *argv, *options, "--timeout=120", str(TESTS / file)),
        env={
            "AGENCY_TEST_RUNTIMES": "systemd",
            "HOME": "/run/agency-control",
            "PYTHONPATH": str(LIBRARIES),
        },
        timeout_s=600,
    )


async def test_the_control_plane_may_not_stop_what_is_not_an_agent(host: Guest) -> None:
    await host.run("systemctl", "start", "nginx")
    for verb in ("stop", "start"):
        done = await host.look(*AS_CONTROL, PYTHON, "-c", ASK, verb, "nginx.service")
        assert done.exit_status == 1
        assert b"refuses" in done.stderr
    assert await host.run("systemctl", "is-active", "nginx") == b"active\n"
    await host.run(PYTHON, "-c", ASK, "stop", "nginx.service")  # root may: the test can fail


async def test_nobody_else_may_start_an_agent(host: Guest) -> None:
    unit = naming.agent_unit("pm")
    for user in ("agent-developer", "www-data"):
        done = await host.look(
            *("setpriv", f"--reuid={user}", "--regid=www-data", "--clear-groups"),
            *(PYTHON, "-c", ASK, "start", unit),
        )
        assert done.exit_status == 1
        assert b"refuses" in done.stderr
    assert (await host.look("systemctl", "is-active", unit)).stdout == b"inactive\n"


async def test_a_unit_that_is_not_there_is_named(host: Guest) -> None:
    unit = naming.agent_unit("nobody-made-this")
    done = await host.look(*AS_CONTROL, PYTHON, "-c", ASK, "start", unit)
    assert done.exit_status == 1
    assert unit.encode() in done.stderr


async def from_inside(host: Guest, drop_in: str) -> dict[str, Any]:
    """What the control plane's unit sees and does, with a drop-in of its own."""
    await host.write(
        {
            CONTROL_DROP_INS / "instead.conf": GuestFile(drop_in.encode()),
            TESTS / "inside.py": GuestFile(INSIDE.encode()),
        }
    )
    await host.run("systemctl", "daemon-reload")
    await host.run("systemctl", "start", "agency-control", timeout_s=120)
    seen: dict[str, Any] = json.loads(await host.read(STATE / "seen.json"))
    return seen


async def test_the_control_planes_unit_may_do_what_it_must(host: Guest) -> None:
    seen = await from_inside(host, INSTEAD)
    assert "error" not in seen, seen["error"]
    assert (seen["started"], seen["stopped"]) == ("running", "stopped")
    assert any("trace-inside" in line for line in seen["log"]), "what the agent wrote"
    assert any("Started" in line and "systemd" in line for line in seen["log"]), "and systemd"
    assert seen["memory"] > 1024 * 1024


async def test_a_control_plane_that_may_not_read_the_journal_says_so(host: Guest) -> None:
    seen = await from_inside(host, f"{INSTEAD}SupplementaryGroups=\n")
    assert (seen["started"], seen["stopped"]) == ("running", "stopped")
    assert "the journal cannot be read" in seen["error"]
    assert "systemd-journal" in seen["error"]
    assert "log" not in seen
