"""The comment bridge as a process beside a real Gitea, and the people who comment there."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
from binding import free_port
from running_gitea import Gitea

T = TypeVar("T")
SECRET = "hooks-own-secret-of-a-test"


@dataclass
class People:
    """An organisation `recipes`: ada is a maintainer, bot a reader, eve a stranger."""

    gitea: Gitea
    tokens: dict[str, str] = field(default_factory=dict)

    def settle(self) -> None:
        for name in ("recipe-ci", "ada", "eve"):
            self.tokens[name] = self.gitea.person(name)
        self.gitea.call("POST", "/orgs", {"username": "recipes"})
        for team, power, member in (("core", "write", "ada"), ("eyes", "read", "recipe-ci")):
            wish = {"name": team, "permission": power, "includes_all_repositories": True}
            wish["units"] = ["repo.code", "repo.issues", "repo.pulls"]
            made = self.gitea.call("POST", "/orgs/recipes/teams", wish)
            self.gitea.call("PUT", f"/teams/{made['id']}/members/{member}")

    def act(self, who: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.tokens[who]}"}
        url = f"{self.gitea.url}/api/v1{path}"
        answer = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.ok, f"{method} {path}: HTTP {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def repository(self, name: str) -> str:
        wish = {"name": name, "auto_init": True, "default_branch": "main"}
        self.gitea.call("POST", "/orgs/recipes/repos", wish)
        return f"recipes/{name}"

    def push(self, who: str, project: str, branch: str, text: str) -> str:
        known = {one["name"] for one in self.act(who, "GET", f"/repos/{project}/branches")}
        at = {"branch": branch} if branch in known else {"branch": "main", "new_branch": branch}
        content = base64.b64encode(text.encode()).decode()
        path = f"/repos/{project}/contents/{text.replace(' ', '-')}.txt"
        made = self.act(who, "POST", path, {"content": content, "message": text} | at)
        return str(made["commit"]["sha"])

    def propose(self, who: str, project: str, head: str) -> int:
        wish = {"title": head, "head": head, "base": "main"}
        return int(self.act(who, "POST", f"/repos/{project}/pulls", wish)["number"])

    def say(self, who: str, project: str, number: int, text: str) -> int:
        path = f"/repos/{project}/issues/{number}/comments"
        return int(self.act(who, "POST", path, {"body": text})["id"])

    def answers(self, project: str, number: int) -> list[str]:
        """Return the texts of the bot's comments."""
        found = self.gitea.call("GET", f"/repos/{project}/issues/{number}/comments")
        return [one["body"] for one in found if one["user"]["login"] == "recipe-ci"]

    def shown(self, project: str, text: str) -> str:
        """Return a comment as the forge's pages show it."""
        wish = {"Text": text, "Mode": "comment", "Context": project}
        headers = {"Authorization": f"token {self.gitea.token}"}
        url = f"{self.gitea.url}/api/v1/markdown"
        return requests.post(url, json=wish, headers=headers, timeout=30).text


@dataclass
class BridgeProcess:
    """`agency recipes bridge` as its unit starts it."""

    place: Path
    people: People
    projects: tuple[str, ...]
    poll_s: int = 1
    forge_url: str = ""
    hook: bool = True
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.place / "state"

    def start(self) -> None:
        self.state.mkdir(exist_ok=True)
        credentials = self.place / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "forge-bot-token").write_text(self.people.tokens["recipe-ci"])
        (credentials / "webhook-hmac").write_text(SECRET if self.hook else "")
        config = self.place / "recipes.json"
        config.write_text(json.dumps(self._config()))
        words = ["recipes", "bridge", "--config", str(config)]
        argv = [sys.executable, "-m", "agency", *words, "--poll-seconds", str(self.poll_s)]
        env = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(credentials)}
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=env, stderr=log, stdout=log)
        self.until(self._looked, "the first look")

    def _config(self) -> dict[str, Any]:
        return {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 2,
            "buildTimeoutMinutes": 60,
            "recipes": {each.rpartition("/")[2]: {"repository": each} for each in self.projects},
            "forge": {"kind": "gitea", "url": self.forge_url or self.people.gitea.url},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": self.port, "dashboard": free_port()},
            "wildcard": "*.ci.example.org",
            "state": str(self.state),
        }

    def _looked(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        found = self.rows("SELECT project FROM bridge_looks")
        return {project for (project,) in found} >= set(self.projects)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the database beside the bridge, as an engine does."""
        try:
            with closing(sqlite3.connect(self.state / "recipes.db", timeout=5)) as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []

    def runs(self, project: str) -> list[dict[str, Any]]:
        names = "id", "commit_sha", "head_ref", "clone_url", "requester", "comment", "state"
        found = self.rows(
            f"SELECT {', '.join(names)} FROM runs WHERE project = '{project}' ORDER BY sequence"
        )
        return [dict(zip(names, row, strict=True)) for row in found]

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)

    def log(self) -> str:
        return (self.place / "log").read_text()

    def until(self, check: Callable[[], T], what: str, seconds: float = 20) -> T:
        deadline = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < deadline, f"{what}: {self.log()[-3000:]}"
            time.sleep(0.03)

    async def soon(self, check: Callable[[], T], what: str, seconds: float = 20) -> T:
        return await asyncio.to_thread(self.until, check, what, seconds)
