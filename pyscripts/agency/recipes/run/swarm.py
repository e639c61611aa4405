"""The swarm as a run sees it: one connection a look, so that it works between other programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import aiodocker

from agency.clock import Clock
from agency.coopcloud import Remain, Service, Stack, remains, remove_stack
from agency.docker import answers, docker_at, require_swarm
from agency.recipes.facts import DeployedImage
from agency.recipes.observe.images import running_images, version_label
from agency.recipes.observe.pulling import pull
from agency.recipes.registries import Login

T = TypeVar("T")
_LOG_LINES = 400


@dataclass(frozen=True, slots=True)
class Swarm:
    """Docker Engine at `url`, which manages a swarm of one node."""

    url: str
    clock: Clock

    def require(self) -> None:
        """Check that it is there.

        Raises:
            PrerequisiteError: no engine answers, or it manages no swarm.
        """
        self._with(lambda client: require_swarm(client, self.url))

    def wait_settled(self, stack: str, seconds: float) -> tuple[Service, ...]:
        """Wait until every service of a stack runs as it was deployed last.

        Raises:
            StackError: one does not, or there is none.
        """
        return self._with(
            lambda client: Stack(client, self.url, stack, self.clock).wait_settled(seconds)
        )

    def services(self, stack: str) -> tuple[Service, ...]:
        """List the services of a stack."""
        return self._with(lambda client: Stack(client, self.url, stack, self.clock).services())

    def remains(self, stack: str) -> tuple[Remain, ...]:
        """List all that there is of a stack."""
        return self._with(lambda client: remains(client, self.url, stack))

    def remove(self, stack: str, seconds: float) -> tuple[Remain, ...]:
        """Remove all that there is of a stack; return what is left."""
        return self._with(
            lambda client: remove_stack(client, self.url, stack, seconds=seconds, clock=self.clock)
        )

    def running_images(self, stack: str) -> tuple[DeployedImage, ...]:
        """List the images that run of a stack."""
        return self._with(lambda client: running_images(client, self.url, stack))

    def version_label(self, stack: str) -> str:
        """Return the version that the labels of a stack tell; empty without one."""
        return self._with(lambda client: version_label(Stack(client, self.url, stack, self.clock)))

    def pull(self, image: str, login: Login) -> None:
        """Pull an image from a registry that wants a log-in.

        Raises:
            AgencyError: it cannot be had; PrerequisiteError where that is not the recipe's fault.
        """
        self._with(lambda client: pull(client, image, login))

    def logs(self, stack: str) -> str:
        """Collect the last lines that the services of a stack wrote, and why tasks ended."""
        return self._with(lambda client: self._logs(client, stack))

    async def _logs(self, client: aiodocker.Docker, stack: str) -> str:
        pieces = []
        for service in await Stack(client, self.url, stack, self.clock).services():
            with answers(self.url):
                tasks = await client.tasks.list(filters={"service": [service.id]})
                lines = await client.services.logs(  # type: ignore[misc] # of two kinds; without follow, a list
                    service.id, stdout=True, stderr=True, tail=str(_LOG_LINES)
                )
            pieces.append(f"== {service.name}: {service.running}/{service.replicas} running\n")
            errors = [str(t["Status"].get("Err", "")) for t in tasks if t["Status"].get("Err")]
            pieces += [f"-- a task ended: {error}\n" for error in errors[:10]]
            pieces += lines
        return "".join(pieces)

    def _with(self, act: Callable[[aiodocker.Docker], Coroutine[Any, Any, T]]) -> T:
        async def connected() -> T:
            async with docker_at(self.url) as client:
                return await act(client)

        return asyncio.run(connected())
