"""Recipe CI as a team has it: a forge, and bridge, runner and dashboard, all in one network."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from binding import free_port
from docker_engine import Engine
from recipe_bench import Bench, environment_at, override, stand_in
from recipe_proxy import HTTPS_PORT, ZONE, ca_file
from running_gitea import Gitea

_LOOKS = 'agency_bridge_looks_total{result="done"}'
_LINK = re.compile(r"https://ci\.example\.org/runs/(r[0-9a-z]{8})")
MAINTAINER, STRANGER, BOT = "ada", "mallory", "agency-bot"
TAKEN_S = 60  # from a comment to its run, the promise of docs/recipes-server.md


@dataclass
class Repository:
    """A recipe's repository on the forge; `bench` has the clone of its maintainer."""

    agency: RecipeAgency
    bench: Bench

    @property
    def project(self) -> str:
        return f"team/{self.bench.name}"

    def set_up(self) -> None:
        """Make it, with what the bench has."""
        self.agency.gitea.call("POST", "/orgs/team/repos", {"name": self.bench.name})
        address = self.agency.gitea.url.removeprefix("http://")
        token = self.agency.tokens[MAINTAINER]
        url = f"http://{MAINTAINER}:{token}@{address}/{self.project}.git"
        self.bench.git("remote", "add", "forge", url)
        self.bench.git("push", "-q", "--follow-tags", "forge", "main")

    def as_person(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Call the forge as somebody."""
        answer = requests.request(
            method,
            f"{self.agency.gitea.url}/api/v1/repos/{self.project}{path}",
            json=body,
            headers={"Authorization": f"token {self.agency.tokens[name]}"},
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
        self.agency.within(lambda: commit in self._heads(branch), "new head on the forge", 30)
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

    def run_of(self, number: int) -> str:
        """Wait for the run that the bot's answer links to."""
        found = self.agency.within(
            lambda: _LINK.search("\n".join(self.told(number))), "answer with a link", TAKEN_S
        )
        return str(found[1])

    def status(self, commit: str) -> str:
        """Return the state of a commit's check; empty if there is none."""
        found = self.as_person(MAINTAINER, "GET", f"/commits/{commit}/statuses")
        return str(found[0]["status"]) if found else ""

    def ended(self, commit: str, seconds: float = 240) -> str:
        """Wait for the verdict on a commit, as its status tells it."""

        def verdict() -> str:
            state = self.status(commit)
            return state if state in ("success", "failure", "error") else ""

        return str(self.agency.within(verdict, f"verdict on {self.bench.name}", seconds))


@dataclass
class RecipeAgency:
    """The programs and what they share; every call is made in the network of the swarm."""

    engine: Engine
    gitea: Gitea
    place: Path
    ca: Path
    tokens: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    _programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def set_up(self, benches: Sequence[Bench]) -> None:
        """Make people, the recipes' repositories, and the configuration."""
        self.tokens = {name: self.gitea.person(name) for name in (MAINTAINER, STRANGER, BOT)}
        self.gitea.call("POST", "/orgs", {"username": "team"})
        teams = self.gitea.call("GET", "/orgs/team/teams")
        for name in (MAINTAINER, BOT):
            self.gitea.call("PUT", f"/teams/{teams[0]['id']}/members/{name}")
        for bench in benches:
            self.repositories[bench.name] = Repository(self, bench)
            self.repositories[bench.name].set_up()
        # Without ports of their own: two apps would want the same one.
        overrides = {name: override(name, port=None) for name in self.repositories}
        stand_in(self.place / "bin", overrides)
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
            "maxTests": 2,
            "buildTimeoutMinutes": 15,
            "recipes": {name: {"repository": r.project} for name, r in self.repositories.items()},
            "forge": {"kind": "gitea", "url": self.gitea.url},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": self.ports,
            "wildcard": f"*.{ZONE}",
            "state": str(self.state),
            "runner": {"through": f"https://127.0.0.1:{HTTPS_PORT}", "ca": str(self.ca)},
        }

    @property
    def state(self) -> Path:
        return self.place / "state-of-recipes"

    @property
    def config(self) -> Path:
        return self.place / "recipes.json"

    def start(self) -> None:
        """Start the three programs, as their units do."""
        for words in (
            ("bridge", "--poll-seconds", "2"),
            ("runner",),
            ("dashboard", "--retention-days", "30"),
        ):
            argv = [sys.executable, "-m", "agency", "recipes", words[0]]
            argv += ["--config", str(self.config), *words[1:]]
            environment = environment_at(self.engine, self.place) | {
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
        return bool(looks) and float(looks[0].split()[-1]) >= len(self.repositories)

    def stop(self) -> None:
        """End the programs as systemd does."""
        for program in self._programs:
            program.send_signal(signal.SIGTERM)
        for program in self._programs:
            program.wait(120)
        self._programs.clear()

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
def recipe_agency(
    gitea: Gitea, place: Path, benches: Sequence[Bench], ca: Path | None = None
) -> Iterator[RecipeAgency]:
    """Set it up for recipes and run it; ends its programs."""
    engine = benches[0].engine
    made = RecipeAgency(engine, gitea, place, ca or ca_file(engine))
    made.set_up(benches)
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
