"""Gitea Actions by Gitea's interface (1.26): a workflow is dispatched, its run followed.

The interface cannot cancel a run. One that has no program here ends when its step starts: it sees
that it was asked to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agency.recipes.engine.port import Build, EngineError, Phase, Status
from agency.recipes.engine.remote.api import field, refused, remove
from agency.recipes.engine.remote.base import LISTED, Remote, phase_of
from agency.recipes.record.run import Run
from agency.secrets import SecretValue

WORKFLOW = "recipe.yaml"
_PHASES = {
    "queued": Phase.WAITING,
    "waiting": Phase.WAITING,
    "in_progress": Phase.RUNNING,
    "success": Phase.PASSED,
    "failure": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "skipped": Phase.ERROR,
}


def title_of(run: str, attempt: object) -> str:
    """Name the workflow's run, by which it is found again."""
    return f"recipe run {run}.{attempt}"


@dataclass(frozen=True, slots=True)
class GiteaEngine(Remote):
    """Gitea Actions. Starting takes write access to the repository of the workflow."""

    name: ClassVar[str] = "gitea-actions"

    async def start(self, run: Run) -> Build:
        """Dispatch the workflow."""
        path = f"{self._actions}/workflows/{WORKFLOW}/dispatches"
        body = {
            "ref": f"refs/heads/{self.settings.branch}",
            "inputs": {"run": run.id, "attempt": str(run.attempts)},
        }
        answer = await self.api.call("POST", path, query={"return_run_details": "true"}, body=body)
        if answer.data is None:
            raise refused(
                answer,
                f"Gitea starts no run of {WORKFLOW} in {self.settings.repository}",
                f"is .gitea/workflows/{WORKFLOW} on this branch, are Actions on, the token good?",
            )
        number = answer.field(int, "workflow_run_id")
        return Build(f"{number}/{run.id}", answer.field(str, "html_url"))

    async def find(self, run: Run) -> Build | None:
        """Find the workflow's run among the newest."""
        query = {"event": "workflow_dispatch", "limit": str(LISTED)}
        answer = await self.api.call("GET", f"{self._actions}/runs", query=query)
        for one in answer.field(list, "workflow_runs"):
            if field(one, str, "display_title") == title_of(run.id, run.attempts):
                return Build(f"{field(one, int, 'id')}/{run.id}", field(one, str, "html_url"))
        return None

    async def state(self, build: Build) -> Status:
        """Return the state of a workflow's run; one that was deleted is lost."""
        number = build.id.partition("/")[0]
        answer = await self.api.call("GET", f"{self._actions}/runs/{number}")
        if answer.status == 404:
            return Status(Phase.LOST)
        word = answer.field(str, "status")
        return phase_of(answer.field(str, "conclusion") if word == "completed" else word, _PHASES)

    async def drop(self, build: Build) -> None:
        """Do nothing: there is no way; see the module."""

    async def put_secret(self, name: str, value: SecretValue) -> None:
        """Keep a secret of the repository."""
        path = f"{self._actions}/secrets/{name}"
        answer = await self.api.call("PUT", path, body={"data": value.reveal()})
        if answer.status >= 300:
            raise EngineError(f"the secret {name} is refused: status {answer.status}")

    async def secret_names(self) -> frozenset[str]:
        """List the names of the repository's secrets."""
        return await self.api.names(f"{self._actions}/secrets", "page", "limit")

    async def remove_secret(self, name: str) -> None:
        """Remove a secret; one that is not there is none."""
        await remove(self.api, f"{self._actions}/secrets/{name}")

    @property
    def _actions(self) -> str:
        return f"/api/v1/repos/{self.settings.repository}/actions"
