"""An agent's own server that lies about its document, asked by the desk of a control plane."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from desk import Desk
from herd import Farm

from agency.agent.server import build_app
from agency.agent.state import AgentState
from agency.clock import Clock
from agency.control.acp_client import AcpClient, AcpLieError
from agency.control.conditions import Code
from agency.control.runtimes.base import Endpoint, RuntimeStatus, State
from agency.control.service.documents import build_desk
from agency.protocols import AgentConfig

CONFIG = AgentConfig(name="pm", role="pm", port=20001, trace="t-start")


class Liar(AgentState):
    """The state of an agent that takes every document, and says that it holds another one."""

    @property
    def config_sha256(self) -> str | None:
        return "0" * 64


@pytest.mark.parametrize("kind", [AgentState, Liar])
async def test_a_liar_is_a_condition_once_and_an_honest_agent_is_none(
    desk: Desk, kind: type[AgentState]
) -> None:
    farm = Farm(desk)
    await farm.open()
    await farm.give("pm", "one")
    app = build_app(CONFIG, "token-of-pm", Clock(), state=kind("pm", Clock()))
    async with TestServer(app, host="127.0.0.1") as server, AcpClient() as acp:
        endpoint = Endpoint(f"http://127.0.0.1:{server.port}", "token-of-pm", "pm")

        async def status(name: str) -> RuntimeStatus:
            return RuntimeStatus(name, State.RUNNING, "1")

        runtime = SimpleNamespace(status=status, endpoint=lambda _name: endpoint)
        plane: Any = SimpleNamespace(
            config=SimpleNamespace(models=None),
            database=desk.database,
            inventory=farm.inventory,
            runtime=runtime,
            acp=acp,
            conditions=desk.conditions,
        )
        documents = build_desk(plane)
        if kind is AgentState:
            assert (await documents.push("pm", "t-1"))[1]
            assert desk.conditions.present() == ()
            return
        for _ in range(3):
            with pytest.raises(AcpLieError):
                await documents.push("pm", "t-1")
    (told,) = desk.conditions.present()
    assert (told.code, told.subject) == (Code.AGENT_LIES, "pm")
    assert "was given version 1 of its Gosuto" in told.text
