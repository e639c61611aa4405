"""Drone by its interface (docs.drone.io/api/builds)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from agency.recipes.engine.port import Build, EngineError, Phase, Status
from agency.recipes.engine.remote.api import field, refused, remove
from agency.recipes.engine.remote.base import LISTED, Remote, parameters, phase_of
from agency.recipes.record.run import Run
from agency.secrets import SecretValue

_PHASES = {
    "pending": Phase.WAITING,
    "blocked": Phase.WAITING,
    "waiting_on_dependencies": Phase.WAITING,
    "running": Phase.RUNNING,
    "success": Phase.PASSED,
    "failure": Phase.FAILED,
    "killed": Phase.CANCELLED,
    "declined": Phase.CANCELLED,
    "error": Phase.ERROR,
    "skipped": Phase.ERROR,
}


@dataclass(frozen=True, slots=True)
class DroneEngine(Remote):
    """Drone. Starting a build takes write access to the repository of the pipeline."""

    name: ClassVar[str] = "drone"

    async def start(self, run: Run) -> Build:
        """Start a build with the event `custom`."""
        query = {"branch": self.settings.branch, **parameters(run)}
        answer = await self.api.call("POST", self._builds, query=query)
        # Drone answers 200 and null where no pipeline matches, or the owner is not active.
        if answer.data is None:
            raise refused(
                answer,
                f"Drone starts no build of {self.settings.repository}",
                "is the repository active, its pipeline for the event custom, and the token good?",
            )
        return self._build(answer.data, run.id)

    async def find(self, run: Run) -> Build | None:
        """Find the build among the newest."""
        query = {"page": "1", "per_page": str(LISTED)}
        answer = await self.api.call("GET", self._builds, query=query)
        for one in answer.field(list):
            told = field(one, dict).get("params")
            if isinstance(told, dict) and parameters(run).items() <= told.items():
                return self._build(one, run.id)
        return None

    async def state(self, build: Build) -> Status:
        """Return the state of a build; one that Drone has forgotten is lost."""
        answer = await self.api.call("GET", self._path(build))
        if answer.status == 404:
            return Status(Phase.LOST)
        return phase_of(answer.field(str, "status"), _PHASES)

    async def drop(self, build: Build) -> None:
        """Cancel a build that waits."""
        await self.api.call("DELETE", self._path(build))

    async def secret_names(self) -> frozenset[str]:
        """List the names of the repository's secrets; Drone gives all at once."""
        return await self.api.names(self._secrets, "page", "per_page")

    async def remove_secret(self, name: str) -> None:
        """Remove a secret; one that is not there is none."""
        await remove(self.api, f"{self._secrets}/{name}")

    async def put_secret(self, name: str, value: SecretValue) -> None:
        """Keep a secret of the repository, which no pull request's build is given."""
        secrets = self._secrets
        body = {"data": value.reveal(), "pull_request": False}
        answer = await self.api.call("PATCH", f"{secrets}/{name}", body=body)
        if answer.status == 404:
            answer = await self.api.call("POST", secrets, body={"name": name, **body})
        if answer.status >= 300:
            raise EngineError(f"the secret {name} is refused: status {answer.status}")

    @property
    def _secrets(self) -> str:
        return f"/api/repos/{self.settings.repository}/secrets"

    @property
    def _builds(self) -> str:
        return f"/api/repos/{self.settings.repository}/builds"

    def _path(self, build: Build) -> str:
        return f"{self._builds}/{build.id.partition('/')[0]}"

    def _build(self, data: Any, run: str) -> Build:
        number = field(data, int, "number")
        return Build(f"{number}/{run}", f"{self.api.url}/{self.settings.repository}/{number}")
