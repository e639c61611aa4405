"""An agent that is made from one template after the other, and what its tools reach.

alice ─▶ room ─▶ agent pm ─▶ scripted model ─▶ gateway ─┬─▶ browser ─▶ site on loopback
           └─ approves in the control room              ├─▶ coding ─▶ a repository
                                                        └─▶ forge ─▶ a real Gitea
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from scripted_model import Turn

from agency.agent.models.conversation import ToolCall
from agency.gosuto import as_yaml, load_template
from working import ALICE, Agency, within

ROOT = Path(__file__).resolve().parents[2]
BROWSER_PLACE = ROOT / ".tools" / "agents"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def browser_is_here() -> bool:
    names = ("playwright-mcp", "playwright", "playwright-core")
    there = all((BROWSER_PLACE / name).is_dir() for name in names)
    return there and any(map(shutil.which, BROWSERS)) and bool(shutil.which("node"))


def browser_program(directory: Path) -> None:
    """Write `playwright-mcp` as nixpkgs wraps it: the server, and where its browser is."""
    browser = next(path for name in BROWSERS if (path := shutil.which(name)))
    options = ["--executable-path", browser]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium has none for root
    argv = shlex.join(["node", str(BROWSER_PLACE / "playwright-mcp" / "cli.js"), *options])
    program = directory / "playwright-mcp"
    program.write_text(f'#!/bin/sh\nNODE_PATH={BROWSER_PLACE} exec {argv} "$@"\n')
    program.chmod(0o755)


@dataclass
class Site:
    """Site on loopback with a form; beside it a server that nobody may reach.

    `seen` are the paths that the site was asked for, `sent` what its form got, `reached` what
    came to the other server.
    """

    page: str = ""
    seen: list[str] = field(default_factory=list)
    sent: list[dict[str, list[str]]] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    url: str = ""
    other: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], str]:
        self.seen.append(path)
        parts = urlsplit(path)
        if parts.path == "/away":
            return 302, {"Location": f"{self.other}/secret"}, ""
        if parts.path == "/done":
            self.sent.append(parse_qs(parts.query))
            return 200, {}, f"<h1>Thank you, {self.sent[-1]['name'][0]}: ticket 4711</h1>"
        return 200, {}, self.page or FORM


FORM = (
    "<title>Report</title><form action=/done><label>Name <input name=name></label>"
    "<label>Fault <input name=fault></label><button>Send</button></form>"
)


def _handler(answer: Callable[[str], tuple[int, dict[str, str], str]]) -> type:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@contextmanager
def site() -> Iterator[Site]:
    made = Site()

    def reached(path: str) -> tuple[int, dict[str, str], str]:
        made.reached.append(path)
        return 200, {}, "the secret of the other server"

    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), _handler(each)) for each in (made.answer, reached)
    ]
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    made.url, made.other = (f"http://127.0.0.1:{each.server_port}" for each in servers)
    try:
        yield made
    finally:
        for each in servers:
            each.shutdown()
            each.server_close()


@dataclass
class Staff(Agency):
    """The agency, whose agent pm gets its Gosuto from a template."""

    has_servers: bool = False
    documents: int = 0

    def policy(self, rules: dict[str, Any]) -> dict[str, Any]:
        return rules

    def become(
        self, template: str, servers: dict[str, Any] | None = None, **values: str
    ) -> dict[str, Any]:
        """Give the agent the document of a template, with the model's budget for tests.

        `servers` are laid over the template's.
        """
        form = load_template(template)
        given = {"room": self.room, "operator": ALICE, **values}
        document: dict[str, Any] = yaml.safe_load(as_yaml(form.fill("pm", given)))
        document["limits"] |= {"requestsPerMinute": 600, "eventsPerMinute": 600}
        document["messaging"]["messagesPerMinute"] = 600
        document["mcpServers"] |= servers or {}
        self.documents += 1  # one that an agent has already is refused
        document["metadata"]["description"] += f" Document {self.documents}."
        self.has_servers = bool(document["mcpServers"])
        self.give(document)
        return document

    def wait_for_tools(self) -> None:
        """Wait for the servers of the document, if it has any."""
        if self.has_servers:
            super().wait_for_tools()

    def does(self, text: str, *turns: Turn, approve: int = 0) -> str:
        """Ask for something, approve that many calls, and return the answer."""
        self.model.script[:] = turns
        self.model.asked.clear()
        known = set(self.prompts())
        event = self.ask(text)
        for _ in range(approve):
            (new,) = within(partial(self.prompts, frozenset(known)), self.logs)
            known.add(new)
            self.order(f"approve {new}")
        said = within(lambda: self._ended(event), self.logs, 60)
        assert said == turns[-1].text, (said, self.results())
        return str(said)

    def rows(self) -> list[dict[str, Any]]:
        """The agent's audit log, which begins with its first row."""
        return super().rows() if (self.place / "audit" / "pm.jsonl").exists() else []

    def _ended(self, event: str) -> str:
        """The answer to a message, once it is the last."""
        ends = [r["detail"] for r in self.rows() if r["event"] == "message.ended"]
        over = any(each["message"] == event for each in ends)
        return self.said(event) if over else ""

    def results(self) -> list[str]:
        """The results of tools that the model was given with its last call."""
        messages = self.model.asked[-1].body["messages"]
        return [str(each["content"]) for each in messages if each["role"] == "tool"]

    def prompts(self, known: Collection[str] = ()) -> list[str]:
        """The ids of the calls that people were asked about, oldest first, without those known."""
        assert self.tokens is not None
        room = self.control.ready().json()["room"]["id"]
        bodies = [
            str(each["content"].get("body", ""))
            for each in self.homeserver.messages(self.tokens["alice"], room)[::-1]
        ]
        ids = [body.split()[1] for body in bodies if body.startswith("Approval ask-")]
        return [each for each in ids if each not in known]

    def offered(self) -> list[str]:
        """The tools that the model was offered with its last call."""
        tools = self.model.asked[-1].body.get("tools", [])
        return sorted(each["function"]["name"] for each in tools)

    def decisions(self) -> list[tuple[str, str]]:
        """Tool and decision of each row of the audit log."""
        rows = [row["detail"] for row in self.rows() if row["event"] == "tool.decided"]
        return [(row["tool"], row["decision"]) for row in rows]


def call(tool: str, **arguments: Any) -> Turn:
    return Turn(calls=(ToolCall("call-1", tool, json.dumps(arguments)),))


BROKEN = "def add(a, b):\n    return a - b\n"
TEST = """\
import unittest
from calc import add


class Adding(unittest.TestCase):
    def test_it(self):
        self.assertEqual(add(2, 3), 5)
"""


def fill_project(gitea: Any, owner: str, name: str) -> None:
    """Make a project whose one test fails."""
    gitea.call("POST", "/orgs", {"username": owner})
    gitea.call(
        "POST", f"/orgs/{owner}/repos", {"name": name, "auto_init": True, "default_branch": "main"}
    )
    for path, text in {"calc.py": BROKEN, "test_calc.py": TEST}.items():
        body = {"content": base64.b64encode(text.encode()).decode(), "message": f"Add {path}"}
        gitea.call("POST", f"/repos/{owner}/{name}/contents/{path}", body)


def employ(place: Path, clone_url: str) -> Path:
    """Make the workspace of the agent pm with a clone; returns the directory of its settings."""
    home, settings = place / "home", place / "settings"
    repos = home / "agent-space" / ".repos"
    repos.mkdir(parents=True)
    git(repos, "clone", "--quiet", clone_url, "app")
    settings.mkdir()
    told = {
        "name": "pm",
        "role": "developer",
        "home": str(home),
        "taskLoop": {"maxTasks": 5, "maxWallTime": 3600, "maxErrors": 3},
        "workspace": {
            "fullName": "Agent pm",
            "email": "agent-pm@agency.example",
            "matrixId": "@agent-pm:agency.example",
            "domain": "agency.example",
            "operators": [ALICE],
        },
        "codingAgent": {
            "branchPrefix": "agent-pm/",
            "maxReviews": 2,
            "maxWallTime": 60,
            "reviews": [["python3", "-B", "-m", "unittest", "-q"]],
        },
    }
    (settings / "pm.json").write_text(json.dumps(told))
    return settings


def git(place: Path, *argv: str) -> str:
    done = subprocess.run(
        ["git", *argv], cwd=place, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()
