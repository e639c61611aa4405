"""The gateway's rows in the agents' real audit log: kept in the chain, and needed for each call."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gatewaying import ALICE, Running, allow, document, running, server, told

from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.service.server import AuditServer
from agency.workspace.audit.storage import flags
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.verify import verify_agent


@contextlib.asynccontextmanager
async def audit_log(place: Path) -> AsyncIterator[None]:
    """Run the service, whose one agent is the user of the gateway."""
    directory = place / "audit"
    directory.mkdir(mode=0o755, exist_ok=True)
    path, stopping = place / "audit.sock", asyncio.Event()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    with Place(directory) as opened:
        logs = Logs(opened, Clock(), Bounds(), retention_days=90)
        served = AuditServer(logs, {os.geteuid(): "pm"}.get, Clock(), Bounds())
        task = asyncio.create_task(served.serve(made, stopping))
        try:
            yield
        finally:
            stopping.set()
            await task
            path.unlink(missing_ok=True)


@pytest.fixture
def kept(place: Path) -> Iterator[Path]:
    """The log's file, which may be append-only, so that it can be removed at the end."""
    yield place / "audit" / "pm.jsonl"
    for file in (place / "audit").iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            flags.protect(descriptor, 0)
        finally:
            os.close(descriptor)


def rows(kept: Path) -> list[dict]:
    found = [json.loads(line) for line in kept.read_bytes().splitlines()]
    return [each for each in found if not each["event"].startswith("log.")]


async def test_every_call_has_its_rows_in_the_chain_and_none_is_made_without(
    place: Path, kept: Path
) -> None:
    rules = {"echo": allow("web/echo"), "fetch": allow("web/fetch", "ask")}
    content = document({"web": server("good", place / "web")}, rules)
    with running(place, audit_socket=place / "audit.sock") as gateway:
        async with audit_log(place):
            await gateway.start()
            await gateway.give(content)
            async with gateway.program() as program:
                await program.call_tool("web__echo", {"text": "private-words"})
                await program.call_tool("web__erase", {"text": "x"})
                asked = asyncio.create_task(program.call_tool("web__fetch", {}))
                await decide(gateway)
                assert not (await asked).isError
        async with gateway.program() as program:  # nobody keeps a log now
            refused = await program.call_tool("web__echo", {"text": "unseen"})
            assert "put on record" in told(refused)
        async with audit_log(place), gateway.program() as program:
            assert not (await program.call_tool("web__echo", {"text": "again"})).isError
    made = (place / "web" / "calls").read_text()
    assert "private-words" in made
    assert "unseen" not in made
    told_ = [(each["event"], each["detail"].get("outcome")) for each in rows(kept)]
    assert told_ == [
        ("tool.decided", None),
        ("tool.ended", "done"),
        ("tool.decided", None),
        ("tool.decided", None),
        ("approval.decided", None),
        ("tool.approved", None),
        ("tool.ended", "done"),
        ("tool.decided", None),
        ("tool.ended", "done"),
    ]
    assert {each["uid"] for each in rows(kept)} == {os.geteuid()}
    assert rows(kept)[4]["detail"]["by"] == ALICE
    assert "private-words" not in json.dumps(rows(kept))
    with Place(place / "audit") as opened:
        assert verify_agent(opened, "pm").ok


async def decide(gateway: Running) -> None:
    async with asyncio.timeout(20), gateway.control() as client:
        while not (found := (await client.approvals()).approvals):  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.02)
    await gateway.decide(found[0].id, "approve", found[0].digest)
