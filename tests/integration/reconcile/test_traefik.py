"""traefik against a real Docker Swarm, with a simulated abra and a stand-in for the recipe.

What is real: the swarm, its secrets, services and tasks, `docker stack deploy`. What is not: abra
(simulated_abra.py) and the recipe, whose image cannot be had here.
"""

import asyncio
import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agency.errors import AgencyError, PrerequisiteError
from agency.reconcile.engine.engine import Engine as ReconcileEngine
from agency.reconcile.engine.engine import Outcome, Report
from agency.reconcile.swarm.traefik import TraefikSettings, opened

HOST = "traefik.ci.agency.example"
STACK = "traefik_ci_agency_example"
COMPOSE = """
version: "3.8"
services:
  app:
    image: agency-test/busybox:1
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
    environment: [LOG_LEVEL]
    networks: [proxy]
    stop_grace_period: 2s
    deploy: {update_config: {monitor: 100ms}}
  socket:
    image: agency-test/busybox:1
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
    stop_grace_period: 2s
networks:
  proxy: {external: true}
"""
WILDCARD = """
version: "3.8"
services:
  app:
    secrets: [ssl_cert, ssl_key]
secrets:
  ssl_cert: {external: true, name: "${STACK_NAME}_ssl_cert_${SECRET_WILDCARD_CERT_VERSION}"}
  ssl_key: {external: true, name: "${STACK_NAME}_ssl_key_${SECRET_WILDCARD_KEY_VERSION}"}
"""
ENVIRONMENT = f"""\
# Rendered from instance.yaml by `agency render`; do not edit.
TYPE=traefik
DOMAIN={HOST}
LOG_LEVEL=WARN
COMPOSE_FILE="compose.yml:compose.wildcard.yml"
WILDCARDS_ENABLED=1
SECRET_WILDCARD_CERT_VERSION=v1
SECRET_WILDCARD_KEY_VERSION=v1
"""


def certificate(*names: str, days: int = 30) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return built.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@dataclass
class Setup:
    swarm: object
    place: Path

    def hand_in(self, chain: str, key: str) -> None:
        (self.place / "credentials" / "wildcard-certificate").write_text(chain)
        (self.place / "credentials" / "wildcard-certificate-key").write_text(key)

    def fault(self, kind: str) -> None:
        (self.place / "bin" / "fault").write_text(kind)

    def calls(self) -> int:
        log = self.place / "tmp" / "abra-calls"
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def converge(self, *, check: bool = False) -> Report:
        settings = TraefikSettings(
            docker_url=self.swarm.url,
            domain=HOST,
            env_file=self.place / "traefik.env",
            recipe_source=self.place / "recipe",
        )
        async with opened(settings) as reconciler:
            return await ReconcileEngine("traefik", reconciler, self.place / "lock").run(
                check=check
            )

    def services(self) -> dict[str, int]:
        """Name to version of each service: a write would raise it."""
        names = self.swarm.cli("service", "ls", "--format", "{{.Name}}").split()
        return {n: self.swarm.inspect("service", n)["Version"]["Index"] for n in names}

    async def all_run(self) -> bool:
        """Whether every service soon has the one task that it shall have, as a person sees it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if set(self.swarm.cli("service", "ls", "--format", "{{.Replicas}}").split()) == {"1/1"}:
                return True
            await asyncio.sleep(0.1)  # a task that is ending is still counted
        return False

    async def no_half_removed(self) -> None:
        """Wait until what `docker stack rm` removes is gone: it goes on after the command."""
        deadline = time.monotonic() + 30
        while not self.services() and STACK in self.swarm.cli("network", "ls"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    def secrets(self) -> list[str]:
        return sorted(self.swarm.cli("secret", "ls", "--format", "{{.Name}}").split())


@pytest.fixture
def setup(swarm, tmp_path, monkeypatch) -> Setup:
    for name in ("credentials", "bin", "recipe", "tmp"):
        (tmp_path / name).mkdir()
    abra = tmp_path / "bin" / "abra"
    shutil.copy(Path(__file__).parent / "simulated_abra.py", abra)
    abra.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "recipe" / "compose.yml").write_text(COMPOSE)
    (tmp_path / "recipe" / "compose.wildcard.yml").write_text(WILDCARD)
    (tmp_path / "traefik.env").write_text(ENVIRONMENT)
    swarm.cli("network", "create", "--driver", "overlay", "--attachable", "proxy")
    setup = Setup(swarm, tmp_path)
    setup.hand_in(*certificate("*.ci.agency.example"))
    return setup


async def test_deploys_and_then_changes_nothing(setup):
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    assert setup.services().keys() == {f"{STACK}_app", f"{STACK}_socket"}
    assert await setup.all_run()
    attached = setup.swarm.inspect("service", f"{STACK}_app")["Spec"]["TaskTemplate"]
    names = sorted(s["SecretName"] for s in attached["ContainerSpec"]["Secrets"])
    assert names == setup.secrets()
    # the labels that say what was deployed restarted nothing
    tasks = setup.swarm.cli("service", "ps", "-q", f"{STACK}_app").split()
    assert len(tasks) == 1

    before = (setup.services(), setup.secrets(), setup.calls())
    again = await setup.converge()
    assert again.outcome is Outcome.UNCHANGED
    assert (await setup.converge(check=True)).exit_code == 0
    assert (setup.services(), setup.secrets(), setup.calls()) == before
    assert list((setup.place / "tmp").glob("agency-abra-*")) == []


async def test_no_key_is_shown(setup):
    told = json.dumps((await setup.converge()).as_dict())
    key = (setup.place / "credentials" / "wildcard-certificate-key").read_text()
    assert not any(line in told for line in key.splitlines() if len(line) > 20)
    assert key.splitlines()[1] not in (setup.place / "tmp" / "abra-calls").read_text()


async def test_a_new_certificate_replaces_the_old_and_leaves_nothing_of_it(setup):
    await setup.converge()
    old = setup.secrets()
    setup.swarm.cli("secret", "create", "other_ssl_cert_v1", "-", stdin=b"not ours")
    setup.hand_in(*certificate("*.ci.agency.example"))

    check = await setup.converge(check=True)
    assert [c.what.split("_v")[0] for c in check.pending] == [
        f"secret {STACK}_ssl_cert", f"secret {STACK}_ssl_key", "deployment",
    ]  # fmt: skip
    assert (await setup.converge()).outcome is Outcome.CHANGED
    now = setup.secrets()
    assert "other_ssl_cert_v1" in now
    assert len(now) == 3
    assert not set(old) & set(now)


DRIFT = {
    "scaled to nothing": ("service", "scale", "--detach", f"{STACK}_app=0"),
    "a variable changed": (
        "service", "update", "--detach", "--env-add", "LOG_LEVEL=DEBUG", f"{STACK}_app",
    ),
    "another label": (
        "service", "update", "--detach", "--label-add", "traefik.enable=false", f"{STACK}_app",
    ),
    "a service removed": ("service", "rm", f"{STACK}_socket"),
    "all removed": ("stack", "rm", STACK),
}  # fmt: skip


# Of a service that differs and of one that is gone; the others are the same two again.
OFTEN = ("a variable changed", "all removed")


@pytest.mark.parametrize(
    "drift",
    [
        pytest.param(words, id=name, marks=[] if name in OFTEN else pytest.mark.thorough)
        for name, words in DRIFT.items()
    ],
)
async def test_what_somebody_changed_by_hand_is_deployed_again(setup, drift):
    await setup.converge()
    setup.swarm.cli(*drift)
    await setup.no_half_removed()
    check = await setup.converge(check=True)
    assert int(check.exit_code) == 1
    calls = setup.calls()
    report = await setup.converge()
    assert report.outcome is Outcome.CHANGED, report
    assert setup.calls() == calls + 1
    assert (await setup.converge()).outcome is Outcome.UNCHANGED
    spec = setup.swarm.inspect("service", f"{STACK}_app")["Spec"]
    assert "LOG_LEVEL=WARN" in spec["TaskTemplate"]["ContainerSpec"]["Env"]
    assert await setup.all_run()


@pytest.mark.parametrize(
    "file", ["recipe/compose.yml", pytest.param("traefik.env", marks=pytest.mark.thorough)]
)
async def test_another_recipe_or_configuration_is_deployed(setup, file):
    await setup.converge()
    place = setup.place / file
    place.write_text(place.read_text().replace("sleep 3600", "sleep 3601").replace("WARN", "INFO"))
    report = await setup.converge()
    assert [change.what for change in report.applied] == ["deployment"]


@pytest.mark.parametrize("fault", [pytest.param("before", marks=pytest.mark.thorough), "after"])
async def test_a_deployment_that_failed_half_way_converges_next_time(setup, fault):
    setup.fault(fault)
    report = await setup.converge()
    assert (report.outcome, int(report.exit_code)) == (Outcome.FAILED, 1)
    assert "FATA" in report.failures[0].error.message
    setup.fault("")
    assert (await setup.converge()).outcome is Outcome.CHANGED
    assert (await setup.converge()).outcome is Outcome.UNCHANGED


async def test_two_runs_at_once_deploy_once(setup):
    reports = await asyncio.gather(setup.converge(), setup.converge())
    assert sorted(report.outcome for report in reports) == [Outcome.CHANGED, Outcome.UNCHANGED]
    assert setup.calls() == 1


async def test_what_cannot_be_served_is_never_deployed(setup):
    good, key = certificate("*.ci.agency.example")
    wrong = {
        "the key does not belong to the certificate": (good, certificate("x.example")[1]),
        "expired": certificate("*.ci.agency.example", days=-1),
        "not for traefik.ci.agency.example": certificate("*.agency.example"),
        "not a PEM certificate": ("nothing", key),
        "not an unencrypted PEM key": (good, "nothing"),
    }
    for message, pair in wrong.items():
        setup.hand_in(*pair)
        with pytest.raises(AgencyError, match=message):
            await setup.converge()
    assert setup.calls() == 0
    assert setup.secrets() == []


async def test_acme_and_an_incomplete_configuration_are_refused(setup):
    file = setup.place / "traefik.env"
    file.write_text(ENVIRONMENT + "LETS_ENCRYPT_ENV=production\n")
    with pytest.raises(AgencyError, match="LETS_ENCRYPT_ENV"):
        await setup.converge()
    file.write_text(ENVIRONMENT.replace("SECRET_WILDCARD_KEY_VERSION=v1\n", ""))
    with pytest.raises(AgencyError, match="SECRET_WILDCARD_KEY_VERSION"):
        await setup.converge()


async def test_without_abra_recipe_or_certificate_it_says_what_is_missing(setup, monkeypatch):
    (setup.place / "bin" / "abra").rename(setup.place / "bin" / "none")
    with pytest.raises(PrerequisiteError, match="abra"):
        await setup.converge()
    (setup.place / "recipe" / "compose.yml").unlink()
    with pytest.raises(PrerequisiteError, match=r"compose\.yml"):
        await setup.converge()
    (setup.place / "credentials" / "wildcard-certificate").unlink()
    with pytest.raises(PrerequisiteError, match="wildcard-certificate"):
        await setup.converge()
