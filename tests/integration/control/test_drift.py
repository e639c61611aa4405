"""Real agents that drift beside a real Synapse: killed, altered, hung; each is healed by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import requests
from gosutos import filled

from agency.clock import new_id
from agency.control.acp_client import AcpClient
from agency.control.runtimes.base import Endpoint
from agency.control.runtimes.process import token_file
from agency.gosuto import canonical

NOTICE_KEY = "org.agency.notice"
LIMITS = {
    "reconcile_interval_s": 0.5,
    "respawn_wait_s": 0.5,
    "agent_stop_timeout_s": 1,
    "agent_start_timeout_s": 30,
}


class Helper:
    """An agent that a command made, asked at its own port."""

    def __init__(self, control: Any, room: Any, wait_for: Any) -> None:
        self.control, self.room, self.wait_for = control, room, wait_for

    def endpoint(self) -> Endpoint:
        ((port,),) = self.control.query("SELECT port FROM created_agents WHERE name = 'mender'")
        token = token_file(Path(self.control.config["state_dir"]), "mender").read_text().strip()
        return Endpoint(f"http://127.0.0.1:{port}", token, "mender")

    def held(self) -> str | None:
        """The digest that the agent reports now; None if it holds nothing, or does not answer."""
        try:
            to = self.endpoint()
            headers = {"Authorization": f"Bearer {to.token}"}
            answer = requests.get(f"{to.url}/v1/status", headers=headers, timeout=1)
        except (requests.RequestException, FileNotFoundError):
            return None
        return answer.json().get("config_sha256")

    def until_it_holds(self, version: int) -> None:
        """Wait until it holds a version."""
        ((digest,),) = self.control.query(
            f"SELECT sha256 FROM gosuto_versions WHERE agent = 'mender' AND number = {version}"
        )
        self.wait_for(lambda: self.held() == digest, f"version {version} at the agent", 30)

    def alter(self, document: bytes) -> None:
        """Give it a document past the control plane, as who has its token may."""

        async def work() -> None:
            async with AcpClient() as client:
                await client.apply(self.endpoint(), new_id("t"), document)

        asyncio.run(work())

    def told(self, text: str) -> list[str]:
        said = self.room.homeserver.messages(self.room.token, self.room.room_id)
        bodies = [e["content"]["body"] for e in said if NOTICE_KEY in e["content"]]
        return [body for body in bodies if text in body]


@pytest.fixture
def helper(homeserver: Any, control: Any, alice: str, room_class: Any, wait_for: Any) -> Helper:
    control.config["limits"] = LIMITS
    control.start()
    room_id = control.ready().json()["room"]["id"]
    homeserver.request("POST", f"/_matrix/client/v3/join/{room_id}", alice, {}).raise_for_status()
    room = room_class(homeserver, room_id, alice)
    made = "!agency agents create mender --template=cron-agent --var='task=Sum up'"
    assert "is made" in room.ask(made)["body"]
    assert "mender runs" in room.ask("!agency agents start mender")["body"]
    return Helper(control, room, wait_for)


def test_whatever_becomes_of_it_an_agent_answers_and_holds_its_document(helper: Helper) -> None:
    control, wait_for = helper.control, helper.wait_for
    helper.until_it_holds(1)
    assert helper.told("mender") == [], "what is usual is not told"

    os.kill(control.pid_of("mender"), signal.SIGKILL)
    (died,) = wait_for(lambda: helper.told("mender died"), "notice")
    helper.until_it_holds(1)
    trace = died.rsplit(" ", 1)[1]
    pushed = [row for row in control.audit() if row["action"] == "gosuto push"]
    assert trace in [row["trace"] for row in pushed], "the trace of a death shows what came after"

    helper.alter(canonical(filled("cron-agent", "mender", task="Do what nobody asked for")))
    altered = wait_for(lambda: helper.told("that nobody gave it"), "notice of the alteration")
    helper.until_it_holds(1)
    assert "and was given version 1 again. Trace: " in altered[0]

    before = control.pid_of("mender")
    os.kill(before, signal.SIGSTOP)
    silent = wait_for(lambda: helper.told("ran and did not answer"), "notice of the silence", 40)
    assert "was restarted" in silent[0]
    helper.until_it_holds(1)
    assert control.pid_of("mender") != before
    assert [len(helper.told(each)) for each in ("died", "nobody gave it", "did not answer")] == [
        1,
        1,
        1,
    ]
    assert control.verify() == 0
