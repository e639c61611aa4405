"""A stack of services on the swarm: its deployed services, their state, and their inputs.

Docker does not record a stack's inputs. After a deployment `Stack.record` writes them as labels on
the services: the digest of the inputs, the names of the services, and the digest of each service's
definition. These reveal a service that was later changed, removed or deployed in another way.
Labels of a service are not labels of its tasks, so no task restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiodocker

from agency.canonical import canonical_json, sha256_hex
from agency.clock import Clock
from agency.docker import answers, call
from agency.errors import AgencyError

NAMESPACE = "com.docker.stack.namespace"
INPUTS = "agency.deployed.inputs"
SERVICES = "agency.deployed.services"
SPEC = "agency.deployed.spec"
_OURS = (INPUTS, SERVICES, SPEC)
_POLL_S = 0.2
# An update that Docker ended by itself: what runs is not what was deployed.
_ENDED_BADLY = ("paused", "rollback_paused", "rollback_completed", "rollback_started")


class StackError(AgencyError):
    """A stack that does not run as it was deployed."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service; `replicas` is the wanted number of tasks, `running` the actual one."""

    id: str
    name: str
    labels: Mapping[str, str]
    spec_digest: str
    replicas: int
    running: int
    update_state: str

    @property
    def settled(self) -> bool:
        """True if it runs as deployed."""
        return self.running == self.replicas and self.update_state != "updating"

    @property
    def ended_badly(self) -> bool:
        """True if Docker gave up its update."""
        return self.update_state in _ENDED_BADLY


@dataclass(frozen=True, slots=True)
class Stack:
    """Services of one namespace."""

    client: aiodocker.Docker
    url: str
    name: str
    clock: Clock

    async def services(self) -> tuple[Service, ...]:
        """Ask for the deployed services, by name."""
        with answers(self.url):
            listed = await self.client.services.list(
                filters={"label": [f"{NAMESPACE}={self.name}"]}
            )
            found = [await self._service(one) for one in listed]
        return tuple(sorted(found, key=lambda service: service.name))

    async def _service(self, listed: Mapping[str, Any]) -> Service:
        spec = listed["Spec"]
        tasks = await self.client.tasks.list(
            filters={"service": [listed["ID"]], "desired-state": ["running"]}
        )
        # A task of the definition before this one runs on for a moment, and does not count.
        wanted = spec["TaskTemplate"]["ContainerSpec"]
        running = [
            task
            for task in tasks
            if task["Status"]["State"] == "running" and task["Spec"]["ContainerSpec"] == wanted
        ]
        replicas = spec["Mode"].get("Replicated", {}).get("Replicas", 1)  # global: our one node
        return Service(
            id=listed["ID"],
            name=spec["Name"],
            labels=spec.get("Labels") or {},
            spec_digest=spec_digest(spec),
            replicas=replicas,
            running=len(running),
            update_state=(listed.get("UpdateStatus") or {}).get("State", ""),
        )

    async def wait_settled(self, seconds: float) -> tuple[Service, ...]:
        """Wait until every service runs as deployed.

        Raises:
            StackError: one does not, or there is none.
        """
        deadline = self.clock.steady() + seconds
        while True:
            services = await self.services()
            if services and all(s.settled and not s.ended_badly for s in services):
                return services
            if self.clock.steady() >= deadline or any(s.ended_badly for s in services):
                raise StackError(
                    _unsettled(services),
                    where=f"stack {self.name}",
                    hint=f"see why: docker stack ps --no-trunc {self.name}",
                )
            await asyncio.sleep(_POLL_S)

    async def record(self, inputs: str) -> None:
        """Write on every service the inputs it was deployed from."""
        services = await self.services()
        names = ",".join(service.name for service in services)
        for service in services:
            labels = {INPUTS: inputs, SERVICES: names, SPEC: service.spec_digest}
            await self._label(service.id, labels)

    async def _label(self, identifier: str, labels: Mapping[str, str]) -> None:
        with answers(self.url):
            found = await self.client.services.inspect(identifier)
            spec = {**found["Spec"], "Labels": {**(found["Spec"].get("Labels") or {}), **labels}}
            await call(
                self.client,
                "POST",
                f"services/{identifier}/update",
                params={"version": str(found["Version"]["Index"])},
                data=spec,
            )


def spec_digest(spec: Mapping[str, Any]) -> str:
    """Compute the digest of a service's definition without the labels that `record` writes."""
    labels = {k: v for k, v in (spec.get("Labels") or {}).items() if k not in _OURS}
    return sha256_hex(canonical_json({**spec, "Labels": labels}))


def _unsettled(services: tuple[Service, ...]) -> str:
    if not services:
        return "abra succeeded, but the stack has no service"
    told = [
        f"{s.name} {s.running}/{s.replicas} running"
        + (f", {s.update_state}" * bool(s.update_state))
        for s in services
        if not s.settled or s.ended_badly
    ]
    return "not running as deployed: " + "; ".join(told)
