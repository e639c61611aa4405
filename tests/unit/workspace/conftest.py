"""Logs in real directories. Files may be append-only by the kernel: they are freed in the end."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from agency.clock import Clock
from agency.workspace.audit.bounds import Bounds
from agency.workspace.audit.service.server import AuditServer
from agency.workspace.audit.storage import flags
from agency.workspace.audit.storage.log import AgentLog
from agency.workspace.audit.storage.logs import Logs
from agency.workspace.audit.storage.place import Place
from agency.workspace.audit.verify import Report, verify_agent

AGENT = "pm"
# A test's own disk may be nearly full; what is full is a test of its own.
ROOMY = Bounds(free_bytes=0)


class Moment:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def clock(self) -> Clock:
        return Clock(wall=self, steady=self)


def _free(directory: Path) -> None:
    """Take every flag off, so that files can be changed and removed."""
    for path in directory.iterdir():
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            flags.protect(descriptor, 0)
            os.close(descriptor)


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "logs"
    path.mkdir(mode=0o750)
    yield path
    _free(path)


@pytest.fixture
def free() -> Callable[[Path], None]:
    return _free


@pytest.fixture
def place(directory: Path) -> Iterator[Place]:
    with Place(directory) as place:
        yield place


OpenLog = Callable[..., AgentLog]


@pytest.fixture
def open_log(place: Place, moment: Moment) -> Iterator[OpenLog]:
    opened = []

    def open_log(bounds: Bounds = ROOMY) -> AgentLog:
        log = AgentLog(place, AGENT, moment.clock(), bounds)
        opened.append(log)
        return log

    yield open_log
    for log in opened:
        log.close()


Verify = Callable[..., Report]


@pytest.fixture
def verify(place: Place) -> Verify:
    def verify(*expected) -> Report:
        return verify_agent(place, AGENT, *expected)

    return verify


@pytest.fixture
def records(directory: Path) -> Callable[[], list[dict]]:
    """Every record that is kept, in the order of the chain."""

    def records() -> list[dict]:
        files = [*sorted(directory.glob(f"{AGENT}.*-*.jsonl")), directory / f"{AGENT}.jsonl"]
        lines = (line for file in files if file.exists() for line in file.read_bytes().splitlines())
        return [json.loads(line) for line in lines]

    return records


@pytest.fixture
def events(records: Callable[[], list[dict]]) -> Callable[[], list[str]]:
    return lambda: [record["event"] for record in records()]


class Service:
    """A running service in this process."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.socket = path
        self.directory = directory

    async def connect(self) -> "Connection":
        return Connection(*await asyncio.open_unix_connection(self.socket))


class Connection:
    """A sender that says just what a test wants said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, line: bytes) -> dict:
        self.writer.write(line)
        return await self.hear()

    async def hear(self) -> dict:
        answer = await self.reader.readline()
        assert answer.endswith(b"\n"), "the connection was closed without an answer"
        return json.loads(answer)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def _listening_at(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen()
    return made


Serving = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serving(directory: Path, tmp_path: Path, moment: Moment) -> Serving:
    """Runs a service whose one agent is the user of the test."""

    @asynccontextmanager
    async def serving(
        bounds: Bounds = ROOMY,
        agents: dict[int, str] | None = None,
        path: Path | None = None,
        proxy_uid: int = -1,
    ) -> AsyncIterator[Service]:
        stopping, clock = asyncio.Event(), moment.clock()
        path = path or tmp_path / "socket"
        path.unlink(missing_ok=True)
        agent_of = (agents if agents is not None else {os.geteuid(): AGENT}).get
        with Place(directory) as place:
            logs = Logs(place, clock, bounds, retention_days=90)
            server = AuditServer(
                logs,
                agent_of,
                clock,
                bounds,
                proxy_uid=proxy_uid,
                is_agent=lambda name: name == AGENT,
            )
            task = asyncio.create_task(server.serve(_listening_at(path), stopping))
            try:
                yield Service(path, directory)
            finally:
                stopping.set()
                await task

    return serving


@pytest.fixture
async def service(serving: Serving) -> AsyncIterator[Service]:
    async with serving() as service:
        yield service
