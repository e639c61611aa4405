"""Woodpecker by its interface (woodpecker-ci.org: `/api/repos/{repo_id}/pipelines`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from agency.recipes.engine.port import Build, EngineError, EngineRefusedError, Phase, Status
from agency.recipes.engine.remote.api import field, refused, remove
from agency.recipes.engine.remote.base import LISTED, Remote, parameters, phase_of
from agency.recipes.record.run import Run
from agency.secrets import SecretValue

_PHASES = {
    "created": Phase.WAITING,
    "pending": Phase.WAITING,
    "blocked": Phase.WAITING,
    "started": Phase.RUNNING,
    "running": Phase.RUNNING,
    "success": Phase.PASSED,
    "failure": Phase.FAILED,
    "killed": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
    "declined": Phase.CANCELLED,
    "error": Phase.ERROR,
    "skipped": Phase.ERROR,
}


@dataclass(frozen=True, slots=True)
class WoodpeckerEngine(Remote):
    """Woodpecker, whose interface names a repository by a number."""

    name: ClassVar[str] = "woodpecker"

    async def start(self, run: Run) -> Build:
        """Start a pipeline with the event `manual`."""
        repo = await self._repo()
        body = {"branch": self.settings.branch, "variables": parameters(run)}
        answer = await self.api.call("POST", f"/api/repos/{repo}/pipelines", body=body)
        if answer.data is None:
            raise refused(
                answer,
                f"Woodpecker starts no pipeline of {self.settings.repository}",
                "is there a pipeline for the event manual on this branch, and the token good?",
            )
        return self._build(answer.data, repo, run.id)

    async def find(self, run: Run) -> Build | None:
        """Find the pipeline among the newest."""
        repo = await self._repo()
        query = {"page": "1", "perPage": str(LISTED)}
        answer = await self.api.call("GET", f"/api/repos/{repo}/pipelines", query=query)
        for one in answer.field(list):
            told = field(one, dict).get("variables")
            if isinstance(told, dict) and parameters(run).items() <= told.items():
                return self._build(one, repo, run.id)
        return None

    async def state(self, build: Build) -> Status:
        """Return the state of a pipeline; one that Woodpecker has forgotten is lost."""
        answer = await self.api.call("GET", await self._path(build))
        if answer.status == 404:
            return Status(Phase.LOST)
        return phase_of(answer.field(str, "status"), _PHASES)

    async def drop(self, build: Build) -> None:
        """Cancel a pipeline that waits."""
        await self.api.call("POST", f"{await self._path(build)}/cancel")

    async def secret_names(self) -> frozenset[str]:
        """List the names of the repository's secrets."""
        return await self.api.names(f"/api/repos/{await self._repo()}/secrets", "page", "perPage")

    async def remove_secret(self, name: str) -> None:
        """Remove a secret; one that is not there is none."""
        await remove(self.api, f"/api/repos/{await self._repo()}/secrets/{name}")

    async def put_secret(self, name: str, value: SecretValue) -> None:
        """Keep a secret of the repository, for the event manual alone."""
        secrets = f"/api/repos/{await self._repo()}/secrets"
        body = {"name": name, "value": value.reveal(), "events": ["manual"], "images": []}
        answer = await self.api.call("PATCH", f"{secrets}/{name}", body=body)
        if answer.status == 404:
            answer = await self.api.call("POST", secrets, body=body)
        if answer.status >= 300:
            raise EngineError(f"the secret {name} is refused: status {answer.status}")

    async def _repo(self) -> int:
        answer = await self.api.call("GET", f"/api/repos/lookup/{self.settings.repository}")
        if answer.status >= 300:
            raise EngineRefusedError(
                f"Woodpecker knows no repository {self.settings.repository}",
                hint="turn it on in Woodpecker, and give the token's account access to it",
            )
        return answer.field(int, "id")

    async def _path(self, build: Build) -> str:
        return f"/api/repos/{await self._repo()}/pipelines/{build.id.partition('/')[0]}"

    def _build(self, data: Any, repo: int, run: str) -> Build:
        number = field(data, int, "number")
        return Build(f"{number}/{run}", f"{self.api.url}/repos/{repo}/pipeline/{number}")
