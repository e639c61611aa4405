"""One task of an agent in a guest: given in its room, watched to its end, and what others may.

model, repository ─▶ Gosuto, approved ─▶ agent started ─▶ asked ─▶ answered
                          knocks of other users ─▶ agent stopped ─▶ its tokens tried again
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, TypeVar

from agency import naming
from agency.canonical import sha256_hex
from agency.clock import new_id
from agency.errors import AgencyError
from agency.guests import PREFIX, PROGRAM, Guest, GuestFile
from agency.instance import model_key
from agency.machine import MachineError, units
from agency.matrix import Person, client_path
from agency.secrets import SecretValue
from agency.spinup.probes.working import PROBE, TOOLS
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.parts import Shop
from agency.spinup.targets.incus.parts.agents import knocking, scripted, tools

MODEL_UNIT = "scripted-model.service"
PROXY = "agency-proxy.service"
TASK = "The test of the calculator fails. Mend it, and hand in a branch."
_PYTHON = str(PREFIX / "bin" / "python")
_HANDED = PurePosixPath("/run/agency-control/beside")
_DOCUMENT = PurePosixPath("/run/agency-trial/gosuto.json")
_TOKENS = ("gateway-token", "gateway-control-token", "model-token", "matrix-token")
_STEP_S, _POLL_S = 60.0, 0.2
_DIGEST = re.compile(r"\bsha256:([0-9a-f]{64})\b")
Found = TypeVar("Found")


@dataclass(slots=True)
class Trial:
    """One task of `agent`; the scripted model listens on `port`."""

    shop: Shop
    agent: str
    port: int
    held: dict[str, SecretValue] = field(default_factory=dict, repr=False)

    async def hold(self) -> Evidence:
        """Give the task, see it done, and try who else gets in; leave the agent stopped.

        Raises:
            AgencyError: one of these cannot be done, or does not come in time.
        """
        async with _scripted_model(self.guest, self.port):
            await self._as(self.agent_user, *_program(tools), "prepare", self._home)
            room = await self._room()
            digest = await self._policy(room)
            await self._order(f"!agency agents start {self.agent}")
            await self._order(f"!agency gosuto push {self.agent}")
            await self._learn()
            await self._ready(room, digest)
            event = await self._ask(room)
            answer = await self._answer(room, event)
            seen = await self._seen(event)
            running = await self._units()
            knocks = await self._knocks()
            branch = await self._branch()
            asked = await self._asked()
            await self._order(f"!agency agents stop {self.agent}")
            after = {"units": await self._units(), "attempts": await self._worthless()}
        return {
            "agent": self.agent,
            "role": self.shop.instance.agents[self.agent].role,
            "task": {
                "eventId": event,
                "roomId": room,
                "sender": self.operator.user_id,
                "sha256": sha256_hex(TASK.encode()),
                "policy": digest,
            },
            "answer": answer,
            "model": asked,
            **seen,
            "branch": branch,
            "units": running,
            "attempts": knocks,
            "after": after,
        }

    @property
    def guest(self) -> Guest:
        """The guest."""
        return self.shop.guest

    @property
    def operator(self) -> Person:
        """The person who gives the task."""
        assert self.shop.examination is not None  # people have accounts by then
        return self.shop.examination.people[0]

    @property
    def agent_user(self) -> str:
        """User of the agent."""
        return naming.agent_user(self.agent)

    @property
    def matrix_id(self) -> str:
        """Account of the agent."""
        return naming.matrix_id(naming.agent_localpart(self.agent), self.shop.instance.domain)

    @property
    def _home(self) -> str:
        return f"/home/{self.agent_user}"

    @property
    def _repository(self) -> str:
        return f"{self._home}/{tools.REPOSITORY}"

    async def _as(self, user: str, *argv: str, stdin: bytes = b"") -> bytes:
        words = ("runuser", "--user", user, "--", "env", f"HOME=/home/{user}", *argv)
        return await self.guest.run(*words, stdin=stdin, timeout_s=_STEP_S)

    async def _room(self) -> str:
        body = {"preset": "private_chat", "invite": [self.matrix_id]}
        made = await self.operator.request("POST", client_path("createRoom"), body)
        return str(made["room_id"])

    async def _policy(self, room: str) -> str:
        """Hand the Gosuto in as root, and have it approved in the control room."""
        document = policy(self.agent, room, self.operator.user_id, self._home)
        await self.guest.write({_DOCUMENT: GuestFile(json.dumps(document).encode())})
        set_it = (PROGRAM, "do", "gosuto", "set", self.agent, "--attach", str(_DOCUMENT), "--json")
        handing = asyncio.create_task(self.guest.look(*set_it, timeout_s=_STEP_S))
        try:
            operation = await self._until(self._waiting, "an operation that waits")
            await self._order(f"!agency approvals approve {operation}")
            done = await handing
        finally:
            handing.cancel()
            await asyncio.gather(handing, return_exceptions=True)
        if done.exit_status != 0:
            said = done.stderr.decode(errors="replace")[-500:]
            raise MachineError(f"the Gosuto was not taken: {said}", where=self.agent)
        shown = await self.guest.run(PROGRAM, "do", "gosuto", "show", self.agent, "--json")
        found = _DIGEST.search(json.loads(shown)["reply"]["text"])
        if found is None:
            raise MachineError("no digest of the Gosuto is told", where=self.agent)
        return found.group(1)

    async def _waiting(self) -> str | None:
        shown = await self.guest.run(PROGRAM, "do", "approvals", "list", "--json")
        words = json.dumps(json.loads(shown)).replace("\\n", " ").split()
        found = [word for word in words if word.startswith("op-")]
        return found[0] if found else None

    async def _order(self, text: str) -> None:
        assert self.shop.examination is not None
        subject = self.shop.examination.subject
        room = await self.operator.join(subject.control_room)
        self.operator.listen_in(room)
        await self.operator.sync()
        reply = await self.operator.ask(room, text, new_id("say"))
        if not reply.ok:
            raise MachineError(f"refused: {reply.body[:300]}", where=text)

    async def _learn(self) -> None:
        """Take note of the tokens of this start: the search for secrets knows them from here on."""
        assert self.shop.examination is not None
        for name in _TOKENS:
            read = (await self.guest.read(_HANDED / self.agent / name)).decode().strip()
            self.held[name] = SecretValue(read)
        self.shop.examination.issued += self.held.values()

    async def _ready(self, room: str, digest: str) -> None:
        """Wait until the agent is in its room, and its gateway decides by the Gosuto."""

        async def is_ready() -> bool:
            joined = await self.operator.request(
                "GET", client_path("rooms", room, "joined_members")
            )
            if self.matrix_id not in joined["joined"]:
                return False
            seen = await self.shop.observe(TOOLS, {"agent": self.agent, "trace": new_id("t")})
            healthy = [each["health"] for each in seen["servers"]] == ["ok"]
            return bool(healthy and seen["policy"] == digest)

        await self._until(is_ready, "an agent that is ready for work")

    async def _ask(self, room: str) -> str:
        content = {
            "msgtype": "m.text",
            "body": TASK,
            "m.mentions": {"user_ids": [self.matrix_id]},
        }
        return await self.operator.send(room, content, new_id("say"))

    async def _answer(self, room: str, event: str) -> Evidence:
        """Wait for the last word in the thread of the task."""

        async def ended() -> Evidence | None:
            path = client_path("rooms", room, "messages")
            found = await self.operator.request("GET", path, query={"dir": "b", "limit": "50"})
            mine = [each for each in found["chunk"] if each.get("sender") == self.matrix_id]
            texts = {each["event_id"]: _said(each) for each in mine if each.get("content")}
            whole = [each for each in mine if texts.get(each["event_id"]) == scripted.ANSWER]
            stopped = [text for text in texts.values() if "Not done" in text or "I stop" in text]
            if stopped:
                raise MachineError(f"the agent says: {stopped[0][:300]}", where=self.agent)
            if not whole:
                return None
            return {"eventId": whole[0]["event_id"], "sender": self.matrix_id, "thread": event}

        return {**await self._until(ended, "an answer"), "body": scripted.ANSWER}

    async def _seen(self, event: str) -> Evidence:
        """Read the task in the audit log; its last row comes after the answer."""

        async def look() -> Evidence | None:
            with contextlib.suppress(AgencyError):
                return await self.shop.observe(PROBE, {"agent": self.agent, "message": event})
            return None

        return await self._until(look, "the end of the task in the audit log")

    async def _branch(self) -> Evidence:
        """Read the branch as its owner, and run the test that failed on it."""

        async def git(*words: str) -> str:
            argv = ("git", "-C", self._repository, *words)
            return (await self._as(self.agent_user, *argv)).decode().strip()

        name = f"{self.agent_user}/{scripted.BRANCH}"
        test = ("env", f"--chdir={self._repository}", _PYTHON, "-B", "-m", "unittest")
        tried = await self.guest.look("runuser", "--user", self.agent_user, "--", *test)
        return {
            "name": name,
            "commit": await git("rev-parse", name),
            "parent": await git("rev-parse", "main"),
            "files": (await git("diff", "--name-only", f"main..{name}")).splitlines(),
            "author": await git("log", "-1", "--format=%an", name),
            "testStatus": tried.exit_status,
            "pushed": "pushed" in (await git("status", "--porcelain")),
        }

    async def _asked(self) -> Evidence:
        """Read what the scripted model was asked, by its journal."""
        words = ("journalctl", "--unit", MODEL_UNIT, "--output=cat", "--no-pager")
        lines = (await self.guest.run(*words)).decode().splitlines()
        key = self.shop.secrets.get(model_key(scripted.MODEL))
        asked = [json.loads(line) for line in lines if line.startswith('{"request"')]
        return {
            "kind": "scripted",
            "unit": MODEL_UNIT,
            "requests": asked,
            "keySha256": sha256_hex(key.reveal().encode()),
        }

    async def _units(self) -> list[Evidence]:
        shown = (await units.show(self.guest, [PROXY, *self._own])).values()
        told = ("name", "active", "restarts")
        return [{key: each.as_dict()[key] for key in told} for each in shown]

    @property
    def _own(self) -> tuple[str, ...]:
        beside = (f"agency-agent-{what}@{self.agent}.service" for what in ("gateway", "chat"))
        return (naming.agent_unit(self.agent), *beside)

    async def _knocks(self) -> list[Evidence]:
        """Have the agent, another agent and a stranger try what is the agent's."""
        names = sorted(self.shop.instance.agents)
        others = [naming.agent_user(name) for name in names if name != self.agent][:1]
        found = []
        for user in (self.agent_user, *others, "nobody"):
            found += await self._knock(user, self._doors())
        return found

    def _doors(self) -> list[tuple[str, dict[str, Any]]]:
        gateway = f"/run/agency-gateway/{self.agent}/mcp.sock"
        proxy = naming.SERVICE_PORTS["models"]
        right = {name: value.reveal() for name, value in self.held.items()}
        chat = f"/run/credentials/agency-agent-chat@{self.agent}.service/model-token"
        return [
            ("gateway", {"socket": gateway, "token": right["gateway-token"]}),
            ("gateway without token", {"socket": gateway}),
            ("proxy", {"port": proxy, "token": right["model-token"]}),
            ("proxy without token", {"port": proxy}),
            ("proxy by another token", {"port": proxy, "token": right["gateway-token"]}),
            ("policy", {"read": f"/var/lib/agency-gateway/{self.agent}/policy.json"}),
            ("handed token", {"read": str(_HANDED / self.agent / "model-token")}),
            ("credential", {"read": chat}),
            ("provider's key", {"read": f"/run/credentials/{PROXY}/{model_key(scripted.MODEL)}"}),
            ("ledger", {"read": "/var/lib/agency-proxy/ledger.db"}),
        ]

    async def _knock(self, user: str, doors: list[tuple[str, dict[str, Any]]]) -> list[Evidence]:
        source = inspect.getsource(knocking)
        told = json.dumps([attempt for _, attempt in doors]).encode()
        said = json.loads(await self._as(user, _PYTHON, "-I", "-c", source, stdin=told))
        return [
            {"user": user, "door": door, **came}
            for (door, _), came in zip(doors, said, strict=True)
        ]

    async def _worthless(self) -> list[Evidence]:
        """Try the tokens again after the agent's end, as root, who reaches all."""
        doors = [each for each in self._doors() if each[0] in ("gateway", "proxy")]
        return await self._knock("root", doors)

    async def _until(self, look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
        loop = asyncio.get_running_loop()
        until = loop.time() + _STEP_S
        while True:
            found = await look()
            if found:
                return found
            if loop.time() > until:
                tail = (await units.failure(self.guest, (*self._own, PROXY))).log_tail
                raise MachineError(
                    f"{what} did not come within {_STEP_S:g} s", where=self.agent, log_tail=tail
                )
            await asyncio.sleep(_POLL_S)


def policy(agent: str, room: str, person: str, home: str) -> dict[str, Any]:
    """Write the Gosuto of the task: a developer with four tools, of which it may use three."""
    return {
        "apiVersion": "gosuto/v1",
        "metadata": {"name": agent},
        "trust": {"rooms": [room], "senders": [person]},
        "approvals": {"approvers": [person]},
        "mcpServers": {"work": {"command": [*_program(tools), "serve", home]}},
        "capabilities": {
            "test": {"tool": "work/test", "answer": "allow"},
            "write": {
                "tool": "work/write",
                "answer": "allow",
                "arguments": {"path": {"regex": "[a-z_]+\\.py"}},
            },
            "branch": {"tool": "work/branch", "answer": "allow"},
            "no-push": {"tool": "work/push", "answer": "deny"},
        },
        "persona": {"prompt": f"You are {agent}, a developer."},
    }


def _program(module: ModuleType) -> tuple[str, ...]:
    return (_PYTHON, "-I", "-m", module.__name__)


def _said(event: Mapping[str, Any]) -> str:
    content = event["content"]
    return str((content.get("m.new_content") or content).get("body", ""))


@contextlib.asynccontextmanager
async def _scripted_model(guest: Guest, port: int) -> AsyncIterator[None]:
    """Run the scripted model as a user that ends with it."""
    argv = (*_program(scripted), str(port))
    about = ("--property=DynamicUser=yes", "--description=Scripted model of this spin-up")
    await guest.run("systemd-run", "--quiet", f"--unit={MODEL_UNIT}", *about, *argv)
    try:
        yield
    finally:
        await guest.run("systemctl", "stop", MODEL_UNIT)
