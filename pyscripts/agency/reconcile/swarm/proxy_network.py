"""proxy-network: the overlay network that joins the apps of the swarm and their proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import aiodocker
from pydantic import Field, IPvAnyNetwork

from agency.clock import Clock
from agency.docker import DEFAULT_URL, DockerError, answers, docker_at, require_swarm
from agency.reconcile.engine.contract import ABSENT, Change, ReconcileError, Settings
from agency.secrets import SecretValue

_GONE_WAIT_S = 20.0
_POLL_S = 0.1


class ProxyNetworkSettings(Settings):
    """Declared network; Docker decides the options that are not named."""

    docker_url: str = DEFAULT_URL
    name: str = Field(default="proxy", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    driver: str = "overlay"
    attachable: bool = True
    internal: bool = False
    encrypted: bool = False
    subnet: IPvAnyNetwork | None = None


SETTINGS = ProxyNetworkSettings


@dataclass(frozen=True, slots=True)
class Network:
    """One network of the wanted name; `users` names the services and containers in it."""

    id: str
    facts: Mapping[str, str]
    users: tuple[str, ...]


class Step(Enum):
    """Kinds of changes."""

    REMOVE = auto()
    CREATE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChange(Change):
    """One change of the network; `network_id` is the network to remove."""

    step: Step | None = None
    network_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProxyNetwork:
    """Reconciler of the proxy's network."""

    client: aiodocker.Docker
    settings: ProxyNetworkSettings
    clock: Clock

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return no secrets."""
        return ()

    def wanted(self) -> dict[str, str]:
        """Facts of the network that are compared, as text."""
        wanted = self.settings
        facts = {
            "driver": wanted.driver,
            "scope": "swarm" if wanted.driver == "overlay" else "local",
            "attachable": str(wanted.attachable),
            "internal": str(wanted.internal),
            "encrypted": str(wanted.encrypted),
        }
        if wanted.subnet is not None:
            facts["subnet"] = str(wanted.subnet)
        return facts

    async def observe(self) -> tuple[Network, ...]:
        """List every network of the name: Docker allows more than one."""
        await require_swarm(self.client, self.settings.docker_url)
        with answers(self.settings.docker_url):
            listed = await self.client.networks.list(filters={"name": [self.settings.name]})
            same = [one for one in listed if one["Name"] == self.settings.name]
            return tuple([await self._network(one) for one in same])

    async def _network(self, listed: dict[str, Any]) -> Network:
        identifier = listed["Id"]
        subnets = [c.get("Subnet", "") for c in (listed.get("IPAM") or {}).get("Config") or []]
        facts = {
            "driver": listed["Driver"],
            "scope": listed["Scope"],
            "attachable": str(listed["Attachable"]),
            "internal": str(listed["Internal"]),
            "encrypted": str("encrypted" in (listed.get("Options") or {})),
        }
        if self.settings.subnet is not None:
            facts["subnet"] = ", ".join(subnets)
        return Network(identifier, facts, await self._users(identifier))

    async def _users(self, identifier: str) -> tuple[str, ...]:
        services = await self.client.services.list()
        names = [s["Spec"]["Name"] for s in services if self._is_in(s["Spec"], identifier)]
        # Stopped containers too: they could not start again without their network.
        found = await self.client.containers.list(all=True, filters={"network": [identifier]})
        names += [one["Names"][0].removeprefix("/") for one in found]
        return tuple(sorted(names))

    def _is_in(self, spec: Mapping[str, Any], identifier: str) -> bool:
        networks = [*(spec.get("Networks") or []), *(spec["TaskTemplate"].get("Networks") or [])]
        return any(one["Target"] in (identifier, self.settings.name) for one in networks)

    def plan(self, observed: tuple[Network, ...]) -> tuple[NetworkChange, ...]:
        """Plan to make the network, or to replace a wrong one that has no users."""
        wanted = self.wanted()
        right = [network for network in observed if network.facts == wanted]
        keep = max(right, key=lambda network: len(network.users), default=None)
        changes = [self._removal(network, wanted) for network in observed if network is not keep]
        if keep is None:
            changes.append(self._change("network", ABSENT, _told(wanted), step=Step.CREATE))
        return tuple(changes)

    def _removal(self, network: Network, wanted: Mapping[str, str]) -> NetworkChange:
        differs = {key for key in wanted if network.facts.get(key) != wanted[key]}
        what = ", ".join(sorted(differs)) or "a second network of this name"
        before = _told({key: network.facts.get(key, "") for key in sorted(differs)}) or network.id
        after = _told({key: wanted[key] for key in sorted(differs)}) or "removed"
        if not network.users:
            return self._change(what, before, after, step=Step.REMOVE, network_id=network.id)
        return self._change(
            what,
            before,
            after,
            blocked=f"the network must be made anew, and it is in use by "
            f"{', '.join(network.users)}",
            hint="stop those first (for an app: `abra app undeploy`), then run this again",
        )

    def _change(
        self,
        what: str,
        before: str,
        after: str,
        *,
        step: Step | None = None,
        network_id: str | None = None,
        blocked: str | None = None,
        hint: str | None = None,
    ) -> NetworkChange:
        return NetworkChange(
            part=f"network {self.settings.name}",
            what=what,
            before=before,
            after=after,
            step=step,
            network_id=network_id,
            blocked=blocked,
            hint=hint,
        )

    async def apply(self, change: NetworkChange) -> None:
        """Make one change."""
        with answers(self.settings.docker_url):
            if change.step is Step.REMOVE and change.network_id is not None:
                await self._remove(change.network_id)
            elif change.step is Step.CREATE:
                await self.client.networks.create(self._config())

    async def _remove(self, identifier: str) -> None:
        """Remove a network and wait until it is gone and its name is free."""
        network = await self.client.networks.get(identifier)
        await network.delete()
        deadline = self.clock.steady() + _GONE_WAIT_S
        while self.clock.steady() < deadline:
            try:
                with answers(self.settings.docker_url):
                    await network.show()
            except DockerError as error:
                if error.status == 404:
                    return
                raise
            await asyncio.sleep(_POLL_S)
        raise ReconcileError("the network was removed, but still exists", where=identifier)

    def _config(self) -> dict[str, Any]:
        wanted = self.settings
        config: dict[str, Any] = {
            "Name": wanted.name,
            "Driver": wanted.driver,
            "Attachable": wanted.attachable,
            "Internal": wanted.internal,
            "CheckDuplicate": True,
            "Options": {"encrypted": ""} if wanted.encrypted else {},
        }
        if wanted.subnet is not None:
            config["IPAM"] = {"Config": [{"Subnet": str(wanted.subnet)}]}
        return config


def _told(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


@asynccontextmanager
async def opened(
    settings: ProxyNetworkSettings, clock: Clock | None = None
) -> AsyncIterator[ProxyNetwork]:
    """Open the reconciler with a client of the Docker Engine."""
    async with docker_at(settings.docker_url) as client:
        yield ProxyNetwork(client, settings, clock or Clock())
