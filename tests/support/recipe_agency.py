"""Recipe CI as a team has it: a forge, and bridge, runner and dashboard, all in one network."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from binding import free_port
from recipe_bench import Bench
from recipe_proxy import HTTPS_PORT, ZONE, ca_file
from running_gitea import Gitea

PROJECT = "team/static-site"
_LOOKS = 'agency_bridge_looks_total{result="done"}'
MAINTAINER, STRANGER, BOT = "ada", "mallory", "agency-bot"


@dataclass
class RecipeAgency:
    """The programs and what they share; every call is made in the network of the swarm."""

    bench: Bench
    gitea: Gitea
    place: Path
    tokens: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def set_up(self) -> None:
        """Make people, the recipe's repository, and the configuration."""
        self.tokens = {name: self.gitea.person(name) for name in (MAINTAINER, STRANGER, BOT)}
        self.gitea.call("POST", "/orgs", {"username": "team"})
        teams = self.gitea.call("GET", "/orgs/team/teams")
        for name in (MAINTAINER, BOT):
            self.gitea.call("PUT", f"/teams/{teams[0]['id']}/members/{name}")
        self.gitea.call("POST", "/orgs/team/repos", {"name": "static-site"})
        self.bench.git("remote", "add", "forge", self.push_url)
        self.bench.git("push", "-q", "--follow-tags", "forge", "main")
        self.ports = {name: free_port() for name in ("bridge", "dashboard", "runner")}
        self.state.mkdir(mode=0o700)
        self.config.write_text(json.dumps(self._settings()))
        credentials = self.place / "credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "forge-bot-token").write_text(self.tokens[BOT])
        (credentials / "webhook-hmac").write_text(secrets.token_hex(32))

    def _settings(self) -> dict[str, Any]:
        return {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 1,
            "buildTimeoutMinutes": 10,
            "recipes": {"static-site": {"repository": PROJECT}},
            "forge": {"kind": "gitea", "url": self.gitea.url},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": self.ports,
            "wildcard": f"*.{ZONE}",
            "state": str(self.state),
            "runner": {
                "through": f"https://127.0.0.1:{HTTPS_PORT}",
                "ca": str(ca_file(self.bench.engine)),
            },
        }

    @property
    def state(self) -> Path:
        return self.place / "state-of-recipes"

    @property
    def config(self) -> Path:
        return self.place / "recipes.json"

    @property
    def push_url(self) -> str:
        address = self.gitea.url.removeprefix("http://")
        return f"http://{MAINTAINER}:{self.tokens[MAINTAINER]}@{address}/{PROJECT}.git"

    def start(self) -> None:
        """Start the three programs, as their units do."""
        for words in (
            ("bridge", "--poll-seconds", "2"),
            ("runner",),
            ("dashboard", "--retention-days", "30"),
        ):
            argv = [sys.executable, "-m", "agency", "recipes", words[0]]
            argv += ["--config", str(self.config), *words[1:]]
            environment = self.bench.environment | {
                "CREDENTIALS_DIRECTORY": str(self.place / "credentials")
            }
            with (self.place / f"{words[0]}.log").open("ab") as log:
                started = subprocess.Popen(
                    argv, env=environment, cwd=self.place, stdout=log, stderr=log
                )
            self._programs.append(started)
        # Comments from before its first look are not the bridge's.
        self.within(self._has_looked, "look of the bridge", 60)

    def _has_looked(self) -> bool:
        try:
            numbers = requests.get(f"http://127.0.0.1:{self.ports['bridge']}/metrics", timeout=5)
        except requests.RequestException:
            return False
        looks = [one for one in numbers.text.splitlines() if one.startswith(_LOOKS)]
        return bool(looks) and float(looks[0].split()[-1]) > 0

    def stop(self) -> None:
        """End the programs as systemd does."""
        for program in self._programs:
            program.send_signal(signal.SIGTERM)
        for program in self._programs:
            program.wait(120)
        self._programs.clear()

    def as_person(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Call the forge as somebody."""
        answer = requests.request(
            method,
            f"{self.gitea.url}/api/v1/repos/{PROJECT}{path}",
            json=body,
            headers={"Authorization": f"token {self.tokens[name]}"},
            timeout=30,
        )
        assert answer.ok, f"{method} {path}: HTTP {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def open_request(self, branch: str) -> int:
        """Push what the bench has as a branch, and open a pull request of it."""
        self.push(branch)
        wish = {"title": branch, "head": branch, "base": "main"}
        return int(self.as_person(MAINTAINER, "POST", "/pulls", wish)["number"])

    def push(self, branch: str) -> str:
        """Push what the bench has; return its commit."""
        self.bench.git("push", "-q", "--force", "forge", f"HEAD:refs/heads/{branch}")
        commit = self.bench.git("rev-parse", "HEAD")
        # Gitea takes note of what was pushed a moment later, of branches and of pull requests.
        self.within(lambda: commit in self._heads(branch), "new head on the forge", 30)
        return commit

    def _heads(self, branch: str) -> set[str]:
        """Return the commit that the forge has for a branch, and its requests, if all agree."""
        found = self.as_person(MAINTAINER, "GET", "/branches") or []
        heads = {one["commit"]["id"] for one in found if one["name"] == branch}
        opened = self.as_person(MAINTAINER, "GET", "/pulls?state=open") or []
        heads |= {one["head"]["sha"] for one in opened if one["head"]["ref"] == branch}
        return heads if len(heads) == 1 else set()

    def say(self, number: int, text: str, by: str = MAINTAINER) -> None:
        """Comment on a pull request."""
        self.as_person(by, "POST", f"/issues/{number}/comments", {"body": text})

    def told(self, number: int) -> list[str]:
        """Return what the bot says on a pull request by now."""
        found = self.as_person(MAINTAINER, "GET", f"/issues/{number}/comments")
        return [one["body"] for one in found if one["user"]["login"] == BOT]

    def status(self, commit: str) -> str:
        """Return the state of a commit's check; empty if there is none."""
        found = self.as_person(MAINTAINER, "GET", f"/commits/{commit}/statuses")
        return str(found[0]["status"]) if found else ""

    def page(self, path: str) -> requests.Response:
        """Get a page of the dashboard."""
        return requests.get(f"http://127.0.0.1:{self.ports['dashboard']}{path}", timeout=10)

    def within(self, look: Callable[[], Any], what: str, seconds: float = 240) -> Any:
        """Ask again until there is something; tell the logs if there never is."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := look():
                return found
            time.sleep(0.5)
        logs = [(path.name, path.read_text()[-3000:]) for path in self.place.glob("*.log")]
        raise AssertionError(f"no {what} within {seconds:g} s: {logs}")


@contextmanager
def recipe_agency(bench: Bench, gitea: Gitea, place: Path) -> Iterator[RecipeAgency]:
    """Set it up and run it; ends its programs."""
    made = RecipeAgency(bench, gitea, place)
    made.set_up()
    made.start()
    try:
        yield made
    finally:
        made.stop()
        assert not [one for one in Path("/proc").glob("[0-9]*") if _is_of(one, made.config)]


def _is_of(process: Path, config: Path) -> bool:
    try:
        return str(config).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
