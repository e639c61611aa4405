"""swarm-init: this machine is a Docker Swarm of one node, reachable at the address declared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto

import aiodocker
from pydantic import Field, IPvAnyAddress

from agency.docker import DEFAULT_URL, answers, call, docker_at
from agency.reconcile.engine.contract import ABSENT, Change, Settings
from agency.secrets import SecretValue

_PART = "swarm"
_LISTEN_PORT = 2377


class SwarmInitSettings(Settings):
    """Settings: nodes and overlay networks use `advertiseAddress`; one node may use loopback."""

    docker_url: str = DEFAULT_URL
    advertise_address: IPvAnyAddress
    data_path_port: int | None = Field(
        default=None, ge=1024, le=49151, description="UDP port of overlay networks; 4789 if unset"
    )


SETTINGS = SwarmInitSettings


@dataclass(frozen=True, slots=True)
class Swarm:
    """Observed swarm of the Docker Engine; `state` is its LocalNodeState."""

    state: str
    manager: bool
    address: str
    data_path_port: int
    nodes: int
    availability: str
    holds: tuple[str, ...]  # what would be lost with it: "2 services", "1 secrets"


class Step(Enum):
    """Kinds of changes."""

    INIT = auto()
    RECREATE = auto()
    ACTIVATE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmChange(Change):
    """One change of the swarm; a change without a step is for a person to make."""

    step: Step | None = None


@dataclass(frozen=True, slots=True)
class SwarmInit:
    """Reconciler of the swarm."""

    client: aiodocker.Docker
    settings: SwarmInitSettings

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return no secrets."""
        return ()

    async def observe(self) -> Swarm:
        """Ask the Docker Engine."""
        with answers(self.settings.docker_url):
            info = (await self.client.system.info())["Swarm"]
            manager = info["ControlAvailable"]
            port, availability = 0, ""
            holds: tuple[str, ...] = ()
            if manager:
                port = (await self.client.swarm.inspect()).get("DataPathPort", 0)
                node = await self.client.nodes.inspect(node_id=info["NodeID"])
                availability = node["Spec"]["Availability"]
                holds = await self._holds()
        return Swarm(
            state=info["LocalNodeState"],
            manager=manager,
            address=info["NodeAddr"],
            data_path_port=port,
            nodes=info.get("Nodes", 0),
            availability=availability,
            holds=holds,
        )

    async def _holds(self) -> tuple[str, ...]:
        counts = {
            "services": len(await self.client.services.list()),
            "secrets": len(await self.client.secrets.list()),
            "configs": len(await self.client.configs.list()),
        }
        return tuple(f"{count} {kind}" for kind, count in counts.items() if count)

    def plan(self, observed: Swarm) -> tuple[SwarmChange, ...]:
        """Plan to make the swarm, or to repair it if this loses none of its contents."""
        address = str(self.settings.advertise_address)
        if observed.state == "inactive":
            after = f"a swarm of one node at {address}"
            return (_change("swarm", ABSENT, after, step=Step.INIT),)
        if not observed.manager:
            before = f"state {observed.state}, not a manager"
            after = "a swarm of one node"
            return (_change("swarm", before, after, blocked=_NOT_OURS[0], hint=_NOT_OURS[1]),)
        changes = []
        if observed.nodes > 1:
            before = str(observed.nodes)
            changes.append(_change("nodes", before, "1", blocked=_TOO_MANY[0], hint=_TOO_MANY[1]))
        if observed.address != address:
            changes.append(self._moved("address", observed.address, address, observed))
        port = self.settings.data_path_port or 4789
        if observed.data_path_port not in (port, 0 if port == 4789 else port):
            before = str(observed.data_path_port)
            changes.append(self._moved("data path port", before, str(port), observed))
        if observed.availability != "active" and not changes:
            before = observed.availability
            changes.append(_change("availability", before, "active", step=Step.ACTIVATE))
        return tuple(changes)

    def _moved(self, what: str, before: str, after: str, observed: Swarm) -> SwarmChange:
        if not observed.holds and observed.nodes <= 1:
            return _change(what, before, after, step=Step.RECREATE)
        return _change(
            what,
            before,
            after,
            blocked=f"the swarm would have to be made anew, and it holds "
            f"{', '.join(observed.holds) or 'other nodes'}",
            hint="remove the stacks, or set the address back; then run this again",
        )

    async def apply(self, change: SwarmChange) -> None:
        """Make one change."""
        with answers(self.settings.docker_url):
            match change.step:
                case Step.INIT:
                    await self._init()
                case Step.RECREATE:
                    await self.client.swarm.leave(force=True)
                    await self._init()
                case Step.ACTIVATE:
                    await self._activate()

    async def _init(self) -> None:
        address = str(self.settings.advertise_address)
        bracketed = f"[{address}]" if ":" in address else address
        await call(
            self.client,
            "POST",
            "swarm/init",
            data={
                "ListenAddr": f"{bracketed}:{_LISTEN_PORT}",
                "AdvertiseAddr": address,
                "DataPathPort": self.settings.data_path_port or 0,
                "ForceNewCluster": False,
                "Spec": {},
            },
        )

    async def _activate(self) -> None:
        info = (await self.client.system.info())["Swarm"]
        node = await self.client.nodes.inspect(node_id=info["NodeID"])
        await self.client.nodes.update(
            node_id=node["ID"],
            version=node["Version"]["Index"],
            spec={**node["Spec"], "Availability": "active"},
        )


_TOO_MANY = (
    "the swarm has more nodes than this machine",
    "remove the others: docker node ls, docker node rm",
)
_NOT_OURS = (
    "this machine belongs to a swarm that it does not manage, or its swarm is locked",
    "see `docker info`; then `docker swarm unlock`, or `docker swarm leave` if it is not needed",
)


def _change(
    what: str,
    before: str,
    after: str,
    *,
    step: Step | None = None,
    blocked: str | None = None,
    hint: str | None = None,
) -> SwarmChange:
    return SwarmChange(
        part=_PART, what=what, before=before, after=after, step=step, blocked=blocked, hint=hint
    )


@asynccontextmanager
async def opened(settings: SwarmInitSettings) -> AsyncIterator[SwarmInit]:
    """Open the reconciler with a client of the Docker Engine."""
    async with docker_at(settings.docker_url) as client:
        yield SwarmInit(client, settings)
