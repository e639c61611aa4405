"""A runner of Gitea Actions in a few lines: it speaks the real protocol, and plays one job."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import requests
import yaml
from running_gitea import Gitea

_SERVICE = "/api/actions/runner.v1.RunnerService/"


@dataclass
class ActionsRunner:
    """A runner with a label, registered at a Gitea."""

    gitea: Gitea
    label: str
    headers: dict[str, str] = field(default_factory=dict)

    def register(self) -> None:
        """Register it, as `act_runner register` does."""
        token = self.gitea.call("POST", "/admin/actions/runners/registration-token")["token"]
        labels = [f"{self.label}:host"]
        wish = {"name": "small", "token": token, "labels": labels, "version": "v0.2.0"}
        runner = self._ask("Register", wish)["runner"]
        self.headers = {"x-runner-uuid": runner["uuid"], "x-runner-token": runner["token"]}
        self._ask("Declare", {"version": "v0.2.0", "labels": [self.label]})

    def take(self, seconds: float = 30.0) -> dict[str, Any]:
        """Wait for a job."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            task = self._ask("FetchTask", {"tasksVersion": 0}).get("task")
            if task:
                found: dict[str, Any] = task
                return found
            time.sleep(0.2)
        raise AssertionError("no job came")

    def workflow_of(self, task: dict[str, Any]) -> dict[str, Any]:
        """Read the workflow of a job, as the runner is told it."""
        found: dict[str, Any] = yaml.safe_load(base64.b64decode(task["workflowPayload"]))
        return found

    def end(self, task: dict[str, Any], good: bool) -> None:
        """Tell how a job ended."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {"result": "RESULT_SUCCESS" if good else "RESULT_FAILURE", "startedAt": now}
        state = {"id": task["id"], "stoppedAt": now, "steps": [], **told}
        self._ask("UpdateTask", {"state": state})

    def _ask(self, call: str, body: dict[str, Any]) -> Any:
        url = f"{self.gitea.url}{_SERVICE}{call}"
        answer = requests.post(url, json=body, headers=self.headers, timeout=30)
        assert answer.ok, f"{call}: {answer.status_code} {answer.text[:300]}"
        return answer.json()
