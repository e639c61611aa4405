"""`agency agent proxy` as a real process: its start, its socket, kill -9 in mid-call, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gosutos import document
from proxied import HELD, PROVIDER_KEY, TOKENS, settings
from scripted_model import Turn, scripted

from agency.agent.models.client import Endpoint, ModelClient, ModelLimits
from agency.agent.models.conversation import ModelRequest, Usage, UserMessage
from agency.agent.models.faults import ModelError
from agency.agent.proxy.accounting.ledger import open_ledger
from agency.clock import Clock
from agency.gosuto import canonical
from agency.secrets import SecretValue

PROMPT = "a-prompt-that-is-stored-nowhere"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o700)
    (directory / "provider-key").write_text(PROVIDER_KEY)
    (directory / "held").write_text(HELD)
    return directory


@pytest.fixture
def start(tmp_path: Path, credentials: Path) -> Iterator[Start]:
    """Starts a proxy before the provider at a URL; ends all at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str, *options: str, **more: object) -> subprocess.Popen[str]:
        path = tmp_path / "proxy.json"
        (tmp_path / "state").mkdir(exist_ok=True)
        values = settings(
            url,
            tmp_path / "state/ledger.db",
            port=None,
            socket=str(tmp_path / "s"),
            auditSocket=str(tmp_path / "no-audit"),
        )
        path.write_text(json.dumps({**values, **more}))
        argv = [sys.executable, "-m", "agency", "agent", "proxy", "--config", str(path), *options]
        env = {"PATH": os.defpath, "CREDENTIALS_DIRECTORY": str(credentials)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(argv, env=env, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out + err


async def ask(socket: Path, *, tries: int = 40) -> str:
    """Ask through the socket; waits for a proxy that is about to start."""
    endpoint = Endpoint("http://proxy", SecretValue(TOKENS["pm"]), socket=str(socket))
    limits = ModelLimits(tries=tries, first_wait_s=1.0, longest_wait_s=1.0)
    request = ModelRequest("small", (UserMessage(PROMPT),), 100)
    async with ModelClient(endpoint, limits) as client:
        return (await client.ask(request)).text


async def spent(tmp_path: Path) -> int:
    async with open_ledger(tmp_path / "state/ledger.db", Clock()) as ledger:
        return (await ledger.spent("pm")).day.tokens


async def test_killed_in_mid_call_it_counts_the_whole_reservation(start, tmp_path):
    used = Usage(20, 5)
    turns = [Turn("one", usage=used), Turn("two", fault="silent"), Turn("three", usage=used)]
    async with scripted(*turns) as model:
        first = start(model.url)
        assert await ask(tmp_path / "s") == "one"
        model.came.clear()
        task = asyncio.create_task(ask(tmp_path / "s", tries=1))
        await asyncio.wait_for(model.came.wait(), 40)
        first.kill()
        ended(first)
        with contextlib.suppress(ModelError):
            await task
        second = start(model.url)
        assert await ask(tmp_path / "s") == "three"
        second.send_signal(signal.SIGTERM)
        code, log = ended(second)
    assert (code, "calls of an earlier run count whole" in log) == (0, True)
    whole = await spent(tmp_path)
    assert whole > 25 + 25 + 2100
    # Neither prompts nor secrets are on disk or in the log.
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    for hidden in (PROMPT, PROVIDER_KEY, TOKENS["pm"], HELD):
        assert hidden.encode() not in kept
        assert hidden not in log


async def test_a_stop_in_mid_stream_settles_whole_and_ends_well(start, tmp_path):
    async with scripted(Turn("one", fault="silent")) as model:
        process = start(model.url)
        task = asyncio.create_task(ask(tmp_path / "s"))
        await asyncio.wait_for(model.came.wait(), 40)
        process.send_signal(signal.SIGTERM)
        code, _ = await asyncio.to_thread(ended, process)
        assert code == 0
        assert not (tmp_path / "s").exists()
        with pytest.raises(ModelError):
            await task
    assert await spent(tmp_path) > 2100


async def test_one_proxy_holds_a_ledger(start, tmp_path):
    async with scripted(Turn("one"), Turn("two")) as model:
        start(model.url)
        assert await ask(tmp_path / "s") == "one"
        code, said = ended(start(model.url))
        assert (code, "held by process" in said) == (3, True)
        # the second one took nothing from the first
        assert await ask(tmp_path / "s") == "two"


async def test_a_task_from_a_gosuto_through_the_proxy_to_an_answer(start, tmp_path, credentials):
    """The builtin program as a process: persona and limits of its Gosuto reach the model."""
    gosuto, path = tmp_path / "gosuto.json", tmp_path / "work.json"
    persona = {"prompt": "You are terse.", "model": "small", "provider": "one", "temperature": 0.25}
    gosuto.write_bytes(canonical(document({}, persona=persona, limits={"tokensPerRequest": 33})))
    address = {"url": "http://proxy", "socket": str(tmp_path / "s"), "credential": "model-token"}
    path.write_text(
        json.dumps({"gosuto": str(gosuto), "journal": str(tmp_path / "j"), "model": address})
    )
    (credentials / "model-token").write_text(TOKENS["pm"])
    argv = [sys.executable, "-m", "agency", "agent", "work", "--json", "--config", str(path)]
    env = {"PATH": os.defpath, "CREDENTIALS_DIRECTORY": str(credentials)}

    def worked() -> tuple[int, dict[str, str]]:
        done = subprocess.run(argv, env=env, input=PROMPT, text=True, capture_output=True)
        return done.returncode, json.loads(done.stdout)

    async with scripted(Turn("one"), Turn("the answer"), Turn(status=400, text="no")) as model:
        account = settings(model.url, tmp_path)["accounts"]["pm"] | {"gosuto": str(gosuto)}
        start(model.url, accounts={"pm": account})
        assert await ask(tmp_path / "s") == "one"
        code, told = await asyncio.to_thread(worked)
        assert (code, told) == (0, {"ok": True, "ending": "answered", "text": "the answer"})
        sent = model.asked[1].body
        assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("small", 33, 0.25)
        assert sent["messages"][0]["content"].startswith("You are pm,")
        assert "You are terse." in sent["messages"][0]["content"]
        assert sent["messages"][1]["content"] == PROMPT
        assert await asyncio.to_thread(worked) == (code, told)  # the journal has its answer
        (tmp_path / "j").unlink()
        code, told = await asyncio.to_thread(worked)
        assert (code, told["ending"]) == (1, "refused")
    assert len(model.asked) == 3
