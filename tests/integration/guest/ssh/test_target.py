"""`spinup_smoke --target ssh` against a machine that runs the agency, by a real SSH server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from interrupting import sigint

from agency import naming
from agency.children import processes_with_marker
from agency.guests.machines.machine import Guest, GuestFile
from agency.guests.provisioning import INSTANCE, PORTABLE, PROGRAM, provision
from agency.instance.load import load_instance
from agency.secrets.values import SecretValue
from agency.source_digest import source_root
from agency.spinup.convergence import Activator
from agency.spinup.examination import OUTSIDER
from agency.spinup.probes.control import ready
from agency.spinup.program import this_program
from agency.spinup.remote.subject import reached
from agency.spinup.scenario.accounts import create_people
from agency.spinup.scenario.staging import stage
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.transcript.rules.v1.services import ALWAYS_ENDING, ALWAYS_RUNNING, HOMESERVER_UNIT
from agency.transcript.verification import read_unchecked

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "host-under-test"
ROOT = source_root()
CONTROL = "agency-control.service"
CONTROL_SOCKET = "agency-control.socket"
# What a look must not change: programs, settings, what services keep, and everybody's home. The
# database server writes to its files by itself.
PLACES = ("/etc", "/opt", "/usr", "/root", "/home", "/var/lib", "/run/agency-control")
# What would leave every test of the suite out, did it reach the suite.
STEERING = {"PYTEST_ADDOPTS": "-k no_test_has_this_name"}
UNITS = (CONTROL, "matrix-synapse.service", "postgresql.service", "nftables.service")


@dataclass
class Ran:
    """What a command came to."""

    status: int
    stdout: str
    stderr: str
    transcript: Path

    @property
    def predicate(self) -> Any:
        data = self.transcript.read_bytes()
        document = read_unchecked(data, where=str(self.transcript)).document()
        return document["predicate"]

    def probe(self, name: str) -> Any:
        (found,) = (one for one in self.predicate["probes"] if one["name"] == name)
        return found


@dataclass
class Operator:
    """Somebody at a terminal on this side, with an instance and its key."""

    base: Path
    server: Any
    secrets: RunSecrets

    @property
    def output(self) -> Path:
        return self.base / "out" / "boot_transcript.json"

    @property
    def runs(self) -> list[str]:
        """What is left of runs on this side."""
        return [path.name for path in (self.base / "agency/runs").glob("run-*")]

    def command(
        self,
        *more: str,
        user: str = "root",
        known: str = "known_hosts",
        instance: str = "secrets/instance",
    ) -> tuple[str, ...]:
        for left in self.output.parent.glob("*"):
            left.unlink()
        options = [f"--ssh-option={option}" for option in self.server.options(known=known)]
        argv = ("spinup_smoke", "--target", "ssh", "--host", f"{user}@{HOST}", *options, *more)
        given = ("--instance", str(self.base / instance), "--output", str(self.output))
        return (*argv, *given, "--age-key", str(self.base / "secrets/age.key"))

    async def smoke(self, *more: str, **how: str) -> Ran:
        ran = await self.run(*self.command(*more, **how), transcript=self.output)
        assert self.runs == [], "whatever came of it"
        return ran

    async def run(self, *argv: str, transcript: Path = Path("-")) -> Ran:
        async with self.started(*argv) as process:
            stdout, stderr = await process.communicate()
        return Ran(process.returncode or 0, stdout.decode(), stderr.decode(), transcript)

    @contextlib.asynccontextmanager
    async def started(self, name: str, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
        with sigint():
            process = await asyncio.create_subprocess_exec(
                *(str(Path(sys.executable).with_name(name)), *argv),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **STEERING, "XDG_STATE_HOME": str(self.base), "COLUMNS": "200"},
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def until_step(self, process: asyncio.subprocess.Process, name: str) -> None:
        """Wait for a run to say that it has begun a step."""
        assert process.stdout is not None
        async for line in process.stdout:
            if line.split() == [b"...", name.encode()]:
                return
        raise AssertionError(f"the step {name} was not reached")

    async def verify(self, ran: Ran, *more: str) -> Ran:
        key = ran.transcript.with_suffix(".pub")
        return await self.run(
            "agency", "transcript", "verify", str(ran.transcript), "--key", str(key), *more
        )


@pytest.fixture(scope="module")
def operator(server, private: Path) -> Operator:
    (private / "out").mkdir()
    secrets = RunSecrets.make(load_instance(ROOT / "instance"), private / "secrets")
    return Operator(private, server, secrets)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(guest: Guest, materials, operator: Operator) -> AsyncIterator[Guest]:
    """The guest, brought to the exported definitions; the operators have accounts."""
    secrets = operator.secrets
    portable = ROOT / "modules/portable"
    await provision(guest, materials, portable, secrets.loaded.root, secrets.key)
    await Activator(guest, PROGRAM, str(PORTABLE), str(INSTANCE), 180).activate()
    async with reached(guest) as (homeserver, control), aiohttp.ClientSession() as session:
        await create_people(
            session,
            homeserver,
            secrets.loaded.instance,
            password=secrets.password,
            shared_secret=secrets.get("matrix-registration-shared-secret"),
            outsider=OUTSIDER,
            also=stage(secrets.loaded.instance).approvers,
        )
        # It tried to invite the operator before there was one, and would try again any time within
        # minutes. When it starts, it does so before it is ready.
        await guest.run("systemctl", "restart", CONTROL)
        seen = await ready(session, control, secrets.get("matrix-hs-token"))
        assert seen["ready"] is True, seen
    await until_at_rest(guest)
    yield guest


async def until_at_rest(guest: Guest) -> None:
    """Wait until homeserver and control plane have taken in the invitation."""
    async with asyncio.timeout(60):
        before = await state_of(guest)
        while True:
            await asyncio.sleep(1)
            after = await state_of(guest)
            if before == after:
                return
            before = after


async def state_of(guest: Guest) -> dict[str, str]:
    """What a look must leave as it was."""
    names = "-path /var/lib/postgresql -prune -o -type f ! -name '*-shm'"
    listing = f"find {{}} -xdev {names} -printf '%p %s %T@ %m %u\\n' | sort"
    files = await guest.run("sh", "-c", listing.format(" ".join(PLACES)), timeout_s=60)
    shown = await guest.run("systemctl", "show", "--property=Id,InvocationID", *UNITS)
    found = await guest.run("/opt/agency/bin/agency", "observe", "audit.count")
    return {"files": files.decode(), "units": shown.decode(), "audit": found.decode()}


def changed(before: str, after: str) -> set[str]:
    return set(before.splitlines()) ^ set(after.splitlines())


async def test_a_host_without_an_agency(operator: Operator) -> None:
    ran = await operator.smoke()
    assert ran.status == 1
    assert "there is no agency on this host" in ran.stdout + ran.stderr
    assert ran.predicate["failure"]["step"] == "connect"
    assert ran.predicate["result"] == "FAILED"
    assert (await operator.verify(ran)).status == 1


async def test_a_look_passes_and_changes_nothing(host: Guest, operator: Operator) -> None:
    before = await state_of(host)
    ran = await operator.smoke("--json")
    after = await state_of(host)
    assert ran.status == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["result"] == "PASSED"
    assert {name: changed(before[name], after[name]) for name in before} == {
        "files": set(),
        "units": set(),
        "audit": set(),
    }
    steps = {step["name"]: step["status"] for step in ran.predicate["steps"]}
    assert steps.pop("scenario") == "skipped"
    assert set(steps.values()) == {"done"}
    assert ran.predicate["scenario"] == []
    verified = await operator.verify(ran)
    assert verified.status == 0, verified.stdout
    assert "read-only" in verified.stdout
    system = ran.probe("host.system")["evidence"]
    assert system["os"].startswith("Debian")
    assert system["instance"]["domain"] == operator.secrets.loaded.instance.domain
    assert system["program"]["digest"] == this_program().digest
    shown = ran.probe("units.state")["evidence"]
    assert {*ALWAYS_RUNNING} < {unit["name"] for unit in shown["units"]}
    assert {*ALWAYS_ENDING} == {*shown["ended"]}
    assert ran.probe("suite.host")["evidence"]["readOnly"] is True
    asked = await operator.verify(ran, "--require", "scenario.commands")
    assert asked.status == 1, "a look shows no conversation"
    whole = await operator.verify(ran, "--gate", "shop")
    assert whole.status == 0, "the instance enables the homeserver alone, and it runs"


async def test_a_state_that_changes_would_be_noticed(host: Guest) -> None:
    before = await state_of(host)
    await host.run("touch", "/etc/hostname")
    await host.run("systemctl", "restart", "nftables.service")
    after = await state_of(host)
    assert changed(before["files"], after["files"])
    assert changed(before["units"], after["units"])


async def test_somebody_who_is_not_root_is_told(host: Guest, operator: Operator) -> None:
    ran = await operator.smoke(user="nobody-special")
    assert ran.status == 1
    assert "not root" in ran.predicate["failure"]["message"]


async def test_without_a_connection_there_is_no_transcript(host: Guest, operator: Operator) -> None:
    ran = await operator.smoke(known="changed")
    assert ran.status == 3
    assert "the host's key differs" in ran.stderr
    assert not ran.transcript.exists()


@pytest.fixture
def others(operator: Operator) -> Iterator[str]:
    """An instance with the same name and key as the host's, that another person commands."""
    place = operator.base / "others"
    shutil.copytree(operator.secrets.loaded.root, place)
    document = yaml.safe_load((place / "instance.yaml").read_text())
    document["operators"] = ["@bob:agency.example"]
    (place / "instance.yaml").write_text(yaml.safe_dump(document))
    yield "others"
    shutil.rmtree(place)


async def test_a_host_of_another_instance_is_not_vouched_for(
    host: Guest, operator: Operator, others: str
) -> None:
    ran = await operator.smoke(instance=others)
    assert ran.status == 1
    failure = ran.predicate["failure"]
    assert failure["step"] == "connect"
    assert "operators: there @alice:agency.example, here @bob:agency.example" in failure["message"]
    assert ran.predicate["result"] == "FAILED"
    assert (await operator.verify(ran)).status == 1


@pytest.fixture
def shop(operator: Operator) -> Iterator[str]:
    """The host's instance, which says that there is more to run than the host has."""
    place = operator.base / "shop"
    shutil.copytree(operator.secrets.loaded.root, place)
    document = yaml.safe_load((place / "instance.yaml").read_text())
    more = ("edge", "element", "gitlab", "observability", "k3s")
    document["services"] |= {name: {"enable": True} for name in more}
    (place / "instance.yaml").write_text(yaml.safe_dump(document))
    yield "shop"
    shutil.rmtree(place)


async def test_services_that_the_host_lacks_are_named(
    host: Guest, operator: Operator, shop: str
) -> None:
    await host.run("systemctl", "start", "nginx")  # as Debian sets it up: it has no TLS
    try:
        ran = await operator.smoke(instance=shop)
    finally:
        await host.run("systemctl", "stop", "nginx")
    assert ran.status == 0, ran.stdout + ran.stderr
    listed = ran.probe("shop.services")["evidence"]
    services = {one["service"]: one for one in listed["services"]}
    assert {name for name, one in services.items() if one["here"]} == {"matrix", "edge", "element"}
    assert services["gitlab"]["why"] == "the machine has no gitlab.service"
    assert listed["pages"] == ["matrix", "grafana"]
    taken = {one["name"]: one["status"] for one in ran.predicate["probes"]}
    shown = {name: status for name, status in taken.items() if name.startswith("shop.")}
    assert shown == {"shop.services": "passed", "shop.edge": "failed", "shop.element": "failed"}
    (gate,) = (one for one in ran.predicate["gates"] if one["name"] == "shop")
    assert gate["met"] is False
    assert (await operator.verify(ran)).status == 0, "what is not demanded makes it not FAILED"
    demanded = await operator.verify(ran, "--gate", "shop", "--json")
    assert demanded.status == 1
    (required,) = (
        check for check in json.loads(demanded.stdout)["checks"] if check["name"] == "required"
    )
    (reason,) = required["reasons"]
    for name in ("gitlab", "registry", "grafana", "prometheus", "k3s"):
        assert f"{name} is absent: the machine has no {services[name]['unit']}" in reason
    assert "edge: the probe shop.edge does not hold" in reason
    assert "the probe oidc.login is missing" in reason


async def test_a_host_of_another_program_is_not_vouched_for(
    host: Guest, operator: Operator
) -> None:
    naming = (await host.run("find", "/opt/agency", "-path", "*/agency/naming.py")).decode().strip()
    before = await host.run("cat", naming)
    await host.run("tee", "-a", naming, stdin=b"# changed\n")
    try:
        ran = await operator.smoke()
    finally:
        await host.run("tee", naming, stdin=before)
    assert ran.status == 1
    failure = ran.predicate["failure"]
    assert failure["step"] == "connect"
    assert "1 files differ: naming.py" in failure["message"]


# A service, a socket, and one that ends; one of them always, for each is a look of its own.
STOPPED = (
    CONTROL,
    pytest.param("agency-audit.socket", marks=pytest.mark.thorough),
    pytest.param("nftables.service", marks=pytest.mark.thorough),
)


@pytest.mark.parametrize("unit", STOPPED)
async def test_a_stopped_unit_is_explained(host: Guest, operator: Operator, unit: str) -> None:
    # A look asks the control plane, which its socket would start again.
    units = (CONTROL_SOCKET, unit) if unit == CONTROL else (unit,)
    await host.run("systemctl", "stop", *units)
    try:
        ran = await operator.smoke()
    finally:
        # Control plane and homeserver stop with the firewall.
        await host.run("systemctl", "start", *units, CONTROL_SOCKET, CONTROL, HOMESERVER_UNIT)
    assert ran.status == 1
    failure = ran.predicate["failure"]
    assert failure["step"] == "probe"
    assert unit in failure["message"]
    said = ("Stopped", "Closed")
    assert any(word in line for line in failure["logTail"] for word in said), failure["logTail"]
    assert ran.probe("units.state")["status"] == "failed"
    assert (await operator.verify(ran)).status == 1


async def test_an_interrupted_look_is_on_record(host: Guest, operator: Operator) -> None:
    async with operator.started(*operator.command()) as process:
        await operator.until_step(process, "isolation")
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()
    ran = Ran(process.returncode or 0, stdout.decode(), stderr.decode(), operator.output)
    assert ran.status == 1, ran.stdout + ran.stderr
    assert ran.predicate["failure"]["step"] == "isolation"
    assert ran.probe("teardown.clean")["status"] == "passed"
    assert operator.runs == []
    assert (await host.look("pgrep", "-x", "sshd")).exit_status == 1, "nobody is logged in"


async def test_a_killed_look_leaves_nothing_running(host: Guest, operator: Operator) -> None:
    async with operator.started(*operator.command()) as process:
        await operator.until_step(process, "isolation")
        (run,) = operator.runs
        process.kill()
        await process.communicate()
    waiting = "while pgrep -x sshd; do sleep 0.2; done"
    await host.run("timeout", "30", "sh", "-c", waiting, timeout_s=40)
    ran = await operator.smoke(known="changed")  # any next run
    assert ran.status == 3
    assert processes_with_marker(run) == ()


@pytest.fixture
def passwords(operator: Operator) -> Path:
    path = operator.base / "passwords.json"
    path.touch(mode=0o600)
    instance = operator.secrets.loaded.instance
    approvers = stage(instance).approvers
    people = (instance.operators[0], naming.matrix_id(OUTSIDER, instance.domain), *approvers)
    secret: SecretValue = operator.secrets.password
    path.write_text(json.dumps({who: secret.reveal() for who in people}))
    return path


async def test_agents_at_work_are_not_disturbed(
    host: Guest, operator: Operator, passwords: Path
) -> None:
    unit = naming.agent_unit("pm")
    drop_in = PurePosixPath(f"/run/systemd/system/{unit}.d/at-work.conf")
    text = b"[Service]\nType=simple\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep 600\n"
    text += b"LoadCredential=\n"
    await host.write({drop_in: GuestFile(text)})
    await host.run("systemctl", "daemon-reload")
    await host.run("systemctl", "start", unit)
    try:
        ran = await operator.smoke("--no-read-only", "--password-file", str(passwords))
        assert await host.run("systemctl", "is-active", unit) == b"active\n"
    finally:
        await host.run("systemctl", "stop", unit)
        await host.run("rm", "--recursive", str(drop_in.parent))
        await host.run("systemctl", "daemon-reload")
    assert ran.status == 1
    assert ran.predicate["failure"]["step"] == "scenario"
    assert unit in ran.predicate["failure"]["message"]


async def test_a_host_is_talked_to_when_that_is_asked_for(
    host: Guest, operator: Operator, passwords: Path
) -> None:
    ran = await operator.smoke("--no-read-only", "--password-file", str(passwords))
    tests = ran.probe("suite.host")["evidence"]["tests"]
    assert [test for test in tests if test["outcome"] in ("failed", "error")] == []
    assert ran.status == 0, ran.stdout + ran.stderr
    assert {step["status"] for step in ran.predicate["steps"]} == {"done"}
    verified = await operator.verify(ran, "--require", "scenario.commands", "--gate", "control")
    assert verified.status == 0, verified.stdout
    assert "read-only" not in verified.stdout
    for agent in ("pm", "developer"):
        shown = await host.look("systemctl", "is-active", naming.agent_unit(agent))
        assert shown.stdout == b"inactive\n"
    text = ran.transcript.read_text()
    assert operator.secrets.password.reveal() not in text
