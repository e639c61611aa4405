"""traefik: the Co-op Cloud recipe, deployed by abra, serving the wildcard certificate.

The certificate and its key are swarm secrets whose version is made from their content, so that a
new certificate is a new secret and a deployment. There is no ACME: the recipe's file provider
serves the instance's certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

import aiodocker
from pydantic import Field

from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.coopcloud import (
    INPUTS,
    NAMESPACE,
    SERVICES,
    SPEC,
    Abra,
    Recipe,
    Service,
    Stack,
    find_abra,
    stack_name,
)
from agency.docker import DEFAULT_URL, answers, docker_at, require_swarm
from agency.errors import BadInputError, PrerequisiteError
from agency.reconcile.engine.contract import ABSENT, Change, Settings
from agency.reconcile.swarm.certificate import ServerCertificate
from agency.secrets import (
    WILDCARD_CERTIFICATE,
    WILDCARD_CERTIFICATE_KEY,
    SecretValue,
    read_credential,
)

_SETTLE_S = 120.0
_VARIABLES = ("SECRET_WILDCARD_CERT_VERSION", "SECRET_WILDCARD_KEY_VERSION")
_SECRETS = ("ssl_cert", "ssl_key")
_HOST = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


class TraefikSettings(Settings):
    """`envFile` is the rendered configuration of the app, `recipeSource` the pinned recipe."""

    docker_url: str = DEFAULT_URL
    domain: Annotated[str, Field(pattern=_HOST)]
    env_file: Path
    recipe_source: Path
    deploy_timeout_s: float = Field(default=300, gt=0, le=3600)


SETTINGS = TraefikSettings


@dataclass(frozen=True, slots=True)
class Deployed:
    """Observed state on the swarm; `stale` are unused secrets of other versions."""

    services: tuple[Service, ...]
    secrets: frozenset[str]
    stale: tuple[str, ...]


class Step(Enum):
    """Kinds of changes."""

    SECRET = auto()
    DEPLOY = auto()
    WAIT = auto()
    PRUNE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraefikChange(Change):
    """One change; `name` is the secret's."""

    step: Step
    name: str = ""


@dataclass(frozen=True, slots=True)
class Traefik:
    """Reconciler of Traefik."""

    client: aiodocker.Docker
    settings: TraefikSettings
    certificate: ServerCertificate
    environment: str
    recipe: Recipe
    inputs: str
    abra: Abra
    clock: Clock

    @property
    def stack(self) -> Stack:
        """Services of the app."""
        name = stack_name(self.settings.domain)
        return Stack(self.client, self.settings.docker_url, name, self.clock)

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the key. The certificate is public."""
        return (self.certificate.key,)

    def _wanted_secrets(self) -> dict[str, SecretValue]:
        values = (self.certificate.chain, self.certificate.key)
        names = _secret_names(self.stack.name, self.certificate)
        return dict(zip(names, values, strict=True))

    async def observe(self) -> Deployed:
        """Read the state of the swarm."""
        await require_swarm(self.client, self.settings.docker_url)
        services = await self.stack.services()
        with answers(self.settings.docker_url):
            listed = await self.client.secrets.list()
            used = {
                reference["SecretID"]
                for service in await self.client.services.list()
                for reference in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets")
                or []
            }
        prefixes = tuple(f"{self.stack.name}_{kind}_v" for kind in _SECRETS)
        wanted = self._wanted_secrets()
        ours = {
            s["Spec"]["Name"]: s["ID"] for s in listed if s["Spec"]["Name"].startswith(prefixes)
        }
        stale = [
            name for name, identity in ours.items() if not (name in wanted or identity in used)
        ]
        return Deployed(services, frozenset(ours), tuple(sorted(stale)))

    def plan(self, observed: Deployed) -> tuple[TraefikChange, ...]:
        """Plan secrets first, then one deployment if needed, then the removal of leftovers."""
        changes = [
            _change(f"secret {name}", ABSENT, "made", Step.SECRET, name)
            for name in self._wanted_secrets()
            if name not in observed.secrets
        ]
        deployment = self._deployment(observed.services)
        if deployment is not None:
            return (*changes, deployment)
        changes += [
            _change(f"service {s.name}", f"{s.running} running", f"{s.replicas} running", Step.WAIT)
            for s in observed.services
            if not s.settled
        ]
        changes += [
            _change(f"secret {name}", "not in use", "removed", Step.PRUNE, name)
            for name in observed.stale
        ]
        return tuple(changes)

    def _deployment(self, services: tuple[Service, ...]) -> TraefikChange | None:
        if not services:
            return _change("deployment", ABSENT, _short(self.inputs), Step.DEPLOY)
        names = ",".join(service.name for service in services)
        for service in services:
            labels = service.labels
            what = f"service {service.name}"
            if labels.get(INPUTS) != self.inputs:
                before = _short(labels.get(INPUTS, "made by others"))
                return _change("deployment", before, _short(self.inputs), Step.DEPLOY)
            if labels.get(SERVICES) != names:
                return _change("services", names, labels.get(SERVICES, ""), Step.DEPLOY)
            if labels.get(SPEC) != service.spec_digest:
                return _change(what, "changed since it was deployed", "as deployed", Step.DEPLOY)
            if service.ended_badly:
                return _change(what, f"update {service.update_state}", "as deployed", Step.DEPLOY)
        return None

    async def apply(self, change: TraefikChange) -> None:
        """Make one change."""
        match change.step:
            case Step.SECRET:
                await self._make_secret(change.name)
            case Step.DEPLOY:
                await asyncio.to_thread(
                    self.abra.deploy, self.settings.domain, self.environment, self.recipe
                )
                await self.stack.wait_settled(_SETTLE_S)
                await self.stack.record(self.inputs)
            case Step.WAIT:
                await self.stack.wait_settled(_SETTLE_S)
            case Step.PRUNE:
                with answers(self.settings.docker_url):
                    await self.client.secrets.delete(change.name)

    async def _make_secret(self, name: str) -> None:
        value = self._wanted_secrets()[name].reveal() + "\n"
        with answers(self.settings.docker_url):
            await self.client.secrets.create(name, value, labels={NAMESPACE: self.stack.name})


def _secret_names(stack: str, certificate: ServerCertificate) -> tuple[str, ...]:
    pairs = zip(_SECRETS, certificate.versions(), strict=True)
    return tuple(f"{stack}_{kind}_{version}" for kind, version in pairs)


def _short(digest: str) -> str:
    return f"inputs {digest[:12]}"


def _change(what: str, before: str, after: str, step: Step, name: str = "") -> TraefikChange:
    return TraefikChange(
        part="traefik", what=what, before=before, after=after, step=step, name=name
    )


def app_environment(rendered: str, certificate: ServerCertificate, where: str) -> str:
    """Fill the versions of the secrets into the app's configuration.

    Raises:
        BadInputError: it asks for ACME, or does not ask for the wildcard certificate.
    """
    versions = dict(zip(_VARIABLES, certificate.versions(), strict=True))
    lines, missing = [], set(versions)
    for line in rendered.splitlines():
        key, _, value = line.partition("=")
        if key == "LETS_ENCRYPT_ENV" and value.strip("\"' "):
            raise BadInputError(
                "LETS_ENCRYPT_ENV is set, and certificates are never asked for here",
                where=where,
                hint="leave it empty: the wildcard certificate is served",
            )
        if key in versions:
            missing.discard(key)
            lines.append(f"{key}={versions[key]}")
        else:
            lines.append(line)
    if missing:
        raise BadInputError(
            f"{', '.join(sorted(missing))} is not there",
            where=where,
            hint="render the instance again: `agency render`",
        )
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def opened(settings: TraefikSettings, clock: Clock | None = None) -> AsyncIterator[Traefik]:
    """Open the reconciler, with the certificate from the unit's credentials and abra from PATH."""
    clock = clock or Clock()
    certificate = ServerCertificate(
        read_credential(WILDCARD_CERTIFICATE), read_credential(WILDCARD_CERTIFICATE_KEY)
    )
    certificate.check(settings.domain, clock.wall())
    environment = app_environment(_read(settings.env_file), certificate, str(settings.env_file))
    recipe = Recipe("traefik", settings.recipe_source)
    inputs = sha256_hex(canonical_json({"recipe": recipe.digest(), "environment": environment}))
    url = None if settings.docker_url == DEFAULT_URL else settings.docker_url
    abra = find_abra(url, timeout_s=settings.deploy_timeout_s)
    async with docker_at(settings.docker_url) as client:
        yield Traefik(client, settings, certificate, environment, recipe, inputs, abra, clock)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise PrerequisiteError(
            f"cannot read it: {error.strerror or error}",
            where=str(file),
            hint="render the instance: `agency render`",
        ) from error
