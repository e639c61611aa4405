"""The builtin program killed by kill -9 in a tool call: no call twice, and the model is told."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from scripted_model import Turn, scripted

from agency.agent.models.conversation import ToolCall
from agency.agent.programs.steps import UNKNOWN_OUTCOME

PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.programs.builtin import Run, Settings
from agency.agent.programs.journal import Journal
from agency.agent.programs.tools import Outcome, Tool
from agency.secrets import SecretValue

url, directory = sys.argv[1], Path(sys.argv[2])

class Tools:
    async def list(self):
        return (Tool("bank__pay", "Pay."),)

    async def call(self, name, arguments):
        with open(directory / "paid", "a") as paid:
            print(name, arguments, file=paid, flush=True)
        if arguments["hang"]:
            time.sleep(60)
        return Outcome("paid")

async def main():
    async with ModelClient(Endpoint(url, SecretValue("t")), ModelLimits(tries=1)) as client:
        with Journal(directory / "journal") as journal:
            end = await Run(Settings("m", "s"), client, Tools(), journal).run("pay them")
            print(end.ending.value, end.said)

asyncio.run(main())
"""


def _hanging(paid: Path) -> None:
    """Wait until the program is in the call that hangs."""
    end = time.monotonic() + 30
    while not paid.exists() or "True" not in paid.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_killed_in_a_tool_call_it_is_not_made_again(tmp_path: Path) -> None:
    calls = (
        ToolCall("c1", "bank__pay", '{"hang": false}'),
        ToolCall("c2", "bank__pay", '{"hang": true}'),
        ToolCall("c3", "bank__pay", '{"hang": false}'),
    )
    async with scripted(Turn("I pay.", calls), Turn("all paid")) as model:
        argv = [sys.executable, "-c", PROGRAM, model.url, str(tmp_path)]
        first = await asyncio.create_subprocess_exec(*argv)
        await asyncio.to_thread(_hanging, tmp_path / "paid")
        first.kill()
        await first.wait()
        second = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(second.communicate(), 30)
    assert out.decode().strip() == "answered all paid"
    paid = (tmp_path / "paid").read_text().splitlines()
    assert [line.endswith("True}") for line in paid] == [False, True, False]
    results = [m["content"] for m in model.asked[1].body["messages"] if m["role"] == "tool"]
    assert [UNKNOWN_OUTCOME in each for each in results] == [False, True, False]
    assert len(model.asked) == 2
