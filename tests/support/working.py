"""An agent that works: the parts around a control plane whose runtime starts its programs.

alice ─▶ room ─▶ Synapse ─▶ account in rooms ─▶ proxy ─▶ scripted model
                                  └─▶ gateway ─▶ MCP server of the tests
all of them ─▶ agents' audit log
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from entering import command, socket_of
from gatewaying import allow, server
from scripted_model import ScriptedModel

from agency import ports
from agency.clock import Clock
from agency.errors import AgencyError
from agency.protocols import GatewayClient, GatewayStatus
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.service.server import AuditServer
from agency.workspace.audit.storage import flags
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place

AGENT = "@agent-pm:agency.example"
SLOT = "slot-1"
ALICE, BOB = "@alice:agency.example", "@bob:agency.example"
CLIENT = "/_matrix/client/v3"
PROVIDER_KEY = "the-key-of-the-provider-of-models"
SOURCES = str(Path(__file__).parent)


@asynccontextmanager
async def audit_log(place: Path, *uids: int) -> AsyncIterator[Path]:
    """Run the agents' audit log; its one agent has the user of this process, and those given.

    Yields its socket.
    """
    directory = place / "audit"
    directory.mkdir(mode=0o755, exist_ok=True)
    path, stopping = place / "audit.sock", asyncio.Event()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    path.chmod(0o666)  # who may speak is known by the user
    made.listen()
    with Place(directory) as opened:
        logs = Logs(opened, Clock(), Bounds(), retention_days=90)
        agents = dict.fromkeys((os.geteuid(), *uids), "pm")
        served = AuditServer(logs, agents.get, Clock(), Bounds())
        task = asyncio.create_task(served.serve(made, stopping))
        try:
            yield path
        finally:
            stopping.set()
            await task
            path.unlink(missing_ok=True)
            for file in directory.iterdir():
                descriptor = os.open(file, os.O_RDONLY)
                try:
                    flags.protect(descriptor, 0)  # so that it can be removed
                finally:
                    os.close(descriptor)


def proxy_settings(place: Path, state_dir: Path, provider: str, port: int) -> dict[str, Any]:
    """The proxy's configuration: accounts of an agent and of a slot; the runtime makes tokens."""
    return {
        "port": port,
        "database": str(place / "ledger.db"),
        "providers": {"one": {"url": provider, "format": "openai", "credential": "key"}},
        "models": {"small": {"provider": "one", "price": {"input": 1.0, "output": 2.0}}},
        "accounts": {
            name: {
                "tokenFile": str(state_dir / "model-tokens" / f"{name}.sha256"),
                "gosuto": str(state_dir / f"agents/{name}/gateway/state/policy.json"),
                "models": ["small"],
                "tokensPerDay": 1_000_000,
                "usdPerDay": 10.0,
                "slot": name == SLOT,
            }
            for name in ("pm", SLOT)
        },
        "auditSocket": str(place / "audit.sock"),
    }


@contextmanager
def proxy_process(place: Path, state_dir: Path, provider: str) -> Iterator[str]:
    """Run the real proxy; yields its address."""
    port = ports.assign(("models",), {})["models"]
    config, credentials = place / "proxy.json", place / "keys"
    config.write_text(json.dumps(proxy_settings(place, state_dir, provider, port)))
    credentials.mkdir(mode=0o700)
    (credentials / "key").write_text(PROVIDER_KEY)
    argv = [sys.executable, "-m", "agency", "agent", "proxy", "--config", str(config)]
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}
    with (place / "proxy.log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        within(lambda: answers(f"{url}/live"), (place / "proxy.log").read_text)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).status_code == 200
    except requests.RequestException:
        return False


def within(look: Callable[[], Any], told: Callable[[], str] = str, seconds: float = 30) -> Any:
    """What `look` finds, asked again until it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    pytest.fail(f"nothing within {seconds:g} s: {told()}")


@dataclass
class Agency:
    """The control plane, its people, a room of an agent that works, and what is behind it."""

    homeserver: Any
    control: Any
    model: ScriptedModel
    place: Path
    room: str = ""
    tokens: dict[str, str] | None = None
    keys: dict[str, str] = field(default_factory=dict)  # secrets of the tool server, by variable
    name: str = "pm"
    runs_as: str = "pm"  # its name for the runtime: its own, or that of its slot

    @property
    def agent(self) -> Path:
        """Directory of the agent."""
        return Path(self.control.config["state_dir"]) / "agents" / self.runs_as

    @property
    def user(self) -> str:
        """Its account."""
        return f"@agent-{self.name}:agency.example"

    def call(self, method: str, path: str, token: str, body: Any = None) -> Any:
        answer = self.homeserver.request(method, f"{CLIENT}/{path}", token, body)
        answer.raise_for_status()
        return answer.json()

    def set_up(self, tokens: dict[str, str]) -> None:
        """Start the control plane, bring its people in, and make the agent's room."""
        self.tokens = tokens
        self.control.start()
        alias = quote(self.control.config["control_room_alias"])
        for token in tokens.values():
            self.call("POST", f"join/{alias}", token, {})
        body = {"preset": "private_chat", "invite": [self.user]}
        self.room = str(self.call("POST", "createRoom", tokens["alice"], body)["room_id"])

    def invite(self) -> None:
        """Bring another agent into the room."""
        self.call("POST", f"rooms/{self.room}/invite", self._alice, {"user_id": self.user})

    def decided(self, text: str) -> None:
        """Alice says what needs an approval, and Bob gives it."""
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.order, text)
            sql = "SELECT id FROM operations WHERE state = 'waiting'"
            waiting = within(lambda: self.control.query(sql))
            self.order(f"!agency approvals approve {waiting[0][0][:9]}", "bob")
            asked.result(timeout=60)

    def order(self, text: str, by: str = "alice") -> str:
        """Say a command in the control room; return the final answer."""
        assert self.tokens is not None
        token, room = self.tokens[by], self.control.ready().json()["room"]["id"]
        event = self.homeserver.say(token, room, text)

        def final() -> str:
            for each in self.homeserver.messages(token, room):
                told = each["content"].get("org.agency.reply", {})
                if told.get("command") == event and told.get("final") and "card" not in told:
                    return str(each["content"]["body"])
            return ""

        return str(within(final, lambda: f"answer to {text}"))

    def policy(self, rules: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "gosuto/v1",
            "metadata": {"name": self.name},
            "trust": {"rooms": [self.room], "senders": [ALICE]},
            "approvals": {"approvers": [ALICE]},
            "mcpServers": {"web": {**self.server(), "secrets": self.keys}},
            "secrets": {name: {} for name in self.keys.values()},
            "capabilities": rules,
            "messaging": {"messagesPerMinute": 100},
        }

    def server(self) -> dict[str, Any]:
        """The tool server, as the agent's document names it."""
        return dict(server("good", self.place / "web"))

    def plant(self, name: str, text: str) -> Path:
        """Put a file where the tool server could read it."""
        path = self.place / name
        path.write_text(text)
        return path

    def called(self) -> list[Any]:
        """The calls that the tool server got."""
        calls = self.place / "web" / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [json.loads(line) for line in lines]

    def give(self, rules: dict[str, Any], **sections: Any) -> None:
        """Hand a Gosuto in by one person, and approve it by another; `sections` are laid over."""
        file = self.place / f"{self.name}.yaml"
        file.write_text(json.dumps(self.policy(rules) | sections))
        with ThreadPoolExecutor(1) as pool:
            words = ("gosuto", "set", self.name)
            asked = pool.submit(command, socket_of(self.control), *words, attach=file)
            sql = "SELECT id FROM operations WHERE state = 'waiting'"
            waiting = within(lambda: asked.done() or self.control.query(sql))
            if waiting is not True:
                self.order(f"approve {waiting[0][0][:9]}")
            status, answer = asked.result(timeout=30)
        assert status == 0, answer

    def listening(self) -> bool:
        """Whether the account in rooms reads its room."""
        log = self.agent / "rooms" / "log"
        return log.exists() and '"listening"' in log.read_text() and self.joined()

    def joined(self) -> bool:
        """Whether the account is in its room."""
        path = f"rooms/{self.room}/joined_members"
        return self.user in self.call("GET", path, self._alice)["joined"]

    def start(self) -> None:
        """Start the agent, and wait until it reads its room and has its tools."""
        told = self.order(f"!agency agents start {self.name}")
        assert f"{self.name} runs" in told, told
        self.push()
        within(self.listening, self.logs)

    def push(self) -> None:
        """Give the agent the newest Gosuto, and wait until its gateway decides by it."""
        assert "of its Gosuto" in self.order(f"!agency gosuto push {self.name}")
        self.wait_for_tools()

    def wait_for_tools(self) -> None:
        """Wait until the gateway decides by the newest Gosuto, and has the tools of its server."""
        sql = f"SELECT sha256 FROM gosuto_versions WHERE agent = '{self.name}' ORDER BY number DESC"
        wanted = self.control.query(sql)[0][0]

        def decides() -> bool:
            status = asyncio.run(self._gateway())
            servers = () if status is None else status.servers
            has_tools = bool(servers) and all(each.health == "ok" for each in servers)
            return status is not None and status.policy_sha256 == wanted and has_tools

        within(decides, self.logs)

    async def _gateway(self) -> GatewayStatus | None:
        gateway = self.agent / "gateway"
        token = (gateway / "credentials" / "gateway-control-token").read_text()
        client = GatewayClient(gateway / "control.sock", token)
        try:
            return await client.status()
        except AgencyError:  # it is about to start
            return None
        finally:
            await client.close()

    @property
    def _alice(self) -> str:
        assert self.tokens is not None
        return self.tokens["alice"]

    def ask(self, text: str) -> str:
        mentions = {"m.mentions": {"user_ids": [self.user]}}
        return str(self.homeserver.say(self._alice, self.room, text, **mentions))

    def said(self, event: str) -> str:
        """What the one reply in the thread of a message says now; empty if there is none."""
        every = self.homeserver.messages(self._alice, self.room)[::-1]
        own = [each for each in every if each["sender"] == self.user and each["content"]]
        replies = [each for each in own if _relates(each, "m.thread", event)]
        assert len(replies) <= 1
        if not replies:
            return ""
        edits = [each for each in own if _relates(each, "m.replace", replies[0]["event_id"])]
        texts = [replies[0]["content"], *(each["content"]["m.new_content"] for each in edits)]
        return str(texts[-1]["body"])

    def rows(self) -> list[dict[str, Any]]:
        """The agents' audit log."""
        lines = (self.place / "audit" / "pm.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def pids(self) -> dict[str, int]:
        """The processes of the agent, by what they run."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "agency" in words and any(each.startswith(str(self.agent)) for each in words):
                found[words[words.index("agent") + 1]] = int(entry.parent.name)
        return found

    def kill(self, *names: str) -> None:
        """Kill processes of the agent, behind everybody's back."""
        for name, pid in self.pids().items():
            if name in names or not names:
                os.kill(pid, signal.SIGKILL)

    def token_files(self) -> list[Path]:
        """The files with the tokens of its programs."""
        return [each for each in self.agent.rglob("credentials/*") if each.is_file()]

    def kept(self) -> list[str]:
        """What the runtime keeps of the agent over its runs."""
        return [str(each) for each in self.agent.rglob("state/*")]

    def token(self, name: str) -> str:
        """A token of the program in rooms."""
        return (self.agent / "rooms" / "credentials" / name).read_text()

    @property
    def named_in_argv(self) -> str:
        """What the command line of each of its processes has."""
        return str(self.agent)

    def logs(self) -> str:
        found = [self.control.log, *self.agent.rglob("log"), self.place / "proxy.log"]
        there = [each for each in found if each.exists()]
        return "\n".join(f"== {each}\n{each.read_text()[-3000:]}" for each in there)


def _relates(message: dict[str, Any], kind: str, to: str) -> bool:
    relation = message["content"].get("m.relates_to", {})
    return (relation.get("rel_type"), relation.get("event_id")) == (kind, to)


ECHO = {"echo": allow("web/echo")}
