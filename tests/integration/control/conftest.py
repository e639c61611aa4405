"""The real `agency control run`, beside a real Synapse; forked, so that it starts fast."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import forking
import pytest
import requests
from interrupting import sigint

from agency import ports

REPLY_KEY = "org.agency.reply"
T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 20) -> T:
    """What `look` finds, asked again until it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"within {seconds:g} s there was no {what}")


@dataclass
class Control:
    """One control plane: its configuration, and the process while it runs."""

    config: dict[str, Any]
    credentials: Path
    place: Path
    process: subprocess.Popen[bytes] | None = None
    program: tuple[str, ...] = ("-m", "agency")
    _txn: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['listen_port']}"

    @property
    def database(self) -> Path:
        return self.place / "control.db"

    @property
    def log(self) -> Path:
        return self.place / "control.log"

    def launch(self, disposition: signal.Handlers = signal.SIG_DFL) -> subprocess.Popen[bytes]:
        """Start the process with a disposition of SIGINT; it is not waited for."""
        file = self.place / "control.json"
        file.write_text(json.dumps(self.config))
        words = ("control", "run", "--config", str(file))
        env = {
            **os.environ,
            "CREDENTIALS_DIRECTORY": str(self.credentials),
            "HOME": str(self.place),
        }
        with self.log.open("ab") as sink, sigint(disposition):
            if self.program == ("-m", "agency") and disposition is signal.SIG_DFL:
                self.process = forking.Forked("agency", words, env=env, stdout=sink, stderr=sink)
            else:
                argv = [sys.executable, *self.program, *words]
                self.process = subprocess.Popen(argv, stderr=sink, stdout=sink, env=env)
        return self.process

    def start(self, disposition: signal.Handlers = signal.SIG_DFL) -> dict[str, Any]:
        """Start it and wait until it is ready; returns the body of /ready."""
        process = self.launch(disposition)

        def is_ready() -> dict[str, Any] | None:
            assert process.poll() is None, self.log.read_text()
            try:
                answer = self.ready()
            except (requests.ConnectionError, requests.Timeout):
                return None
            return answer.json() if answer.status_code == 200 else None

        return wait_for(is_ready, f"readiness:\n{self.log.read_text()}", 30)

    def ready(self, seconds: float = 5) -> requests.Response:
        """Ask for /ready with its details."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.get(f"{self.url}/ready", headers=headers, timeout=seconds)

    @property
    def token(self) -> str:
        return (self.credentials / "matrix-hs-token").read_text().strip()

    def accepts(self) -> bool:
        """Whether a process that was launched answers yet."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/health", timeout=1).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        self.process = None
        return status

    def deliver(
        self, events: list[Any], txn: str | None = None, token: str | None = None
    ) -> requests.Response:
        """Hand it a transaction as the homeserver would."""
        self._txn += 1
        name = quote(txn if txn is not None else f"test-{self._txn}", safe="")
        given = token or (self.credentials / "matrix-hs-token").read_text().strip()
        return requests.put(
            f"{self.url}/_matrix/app/v1/transactions/{name}",
            json={"events": events},
            headers={"Authorization": f"Bearer {given}"},
            timeout=10,
        )

    def audit(self) -> list[dict[str, Any]]:
        """The audit log, as `agency audit export` prints it."""
        done = forking.run("audit", "export", "--database", str(self.database))
        done.check_returncode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the store, beside the running control plane."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def pid_of(self, agent: str) -> int:
        """The process of an agent, as the store knows it."""
        return int(self.query(f"SELECT handle FROM agents WHERE name = '{agent}'")[0][0])

    def verify(self) -> int:
        """The exit status of `agency audit verify`."""
        return forking.run("audit", "verify", "--database", str(self.database)).returncode


@dataclass
class Room:
    """The control room as one person sees it."""

    homeserver: Any
    room_id: str
    token: str
    _seen: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str, **content: Any) -> str:
        return str(self.homeserver.say(self.token, self.room_id, text, **content))

    def replies(self, event_id: str) -> list[dict[str, Any]]:
        """Every answer to a message so far, without its status card."""
        return [
            event
            for event in self.homeserver.messages(self.token, self.room_id)
            if event["content"].get(REPLY_KEY, {}).get("command") == event_id
            and "card" not in event["content"][REPLY_KEY]
        ]

    def reply(self, event_id: str) -> dict[str, Any]:
        """The answer to a message."""
        return wait_for(lambda: self.replies(event_id), f"reply to {event_id}")[0]

    def ask(self, text: str, **content: Any) -> dict[str, Any]:
        """Say something and return the content of the answer."""
        return dict(self.reply(self.say(text, **content))["content"])


def make_config(place: Path, **changes: Any) -> dict[str, Any]:
    """The configuration of a control plane in `place`."""
    agents = ("developer", "pm")
    free = ports.assign(("control", *agents), {})
    return {
        "instance": "test",
        "domain": "agency.example",
        "homeserver_url": "http://127.0.0.1:1",
        "listen_port": free["control"],
        "bot_id": "@agency:agency.example",
        "control_room_alias": "#control:agency.example",
        "operators": ["@alice:agency.example"],
        "agents": [
            {
                "name": name,
                "role": name,
                "matrix_id": f"@agent-{name}:agency.example",
                "port": free[name],
            }
            for name in agents
        ],
        "database_url": f"sqlite+aiosqlite:///{place}/control.db",
        "state_dir": str(place / "state"),
        # Off: most tests look at what a kill leaves, not at what heals it.
        "limits": {"reconcile_interval_s": 0},
        **changes,
    }


@pytest.fixture(name="wait_for")
def _wait_for() -> Callable[..., Any]:
    """Asks again until there is something, up to a deadline."""
    return wait_for


@pytest.fixture
def make_control(tmp_path: Path) -> Iterator[Callable[..., Control]]:
    """Makes control planes, and ends those that are left running."""
    with closing(_making(tmp_path)) as making:
        yield next(making)


@pytest.fixture(scope="module")
def make_shared_control(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Control]]:
    """The same, for a control plane that the tests of a module share."""
    with closing(_making(tmp_path_factory.mktemp("shared"))) as making:
        yield next(making)


def _making(place: Path) -> Generator[Callable[..., Control], None, None]:
    made: list[Control] = []

    def make(credentials: Path, **changes: Any) -> Control:
        control = Control(make_config(place, **changes), credentials, place)
        made.append(control)
        return control

    try:
        yield make
    finally:
        _end(made)


def _end(made: list[Control]) -> None:
    for control in made:
        if control.process is not None and control.process.poll() is None:
            control.process.kill()
            control.process.wait()


@pytest.fixture
def control(homeserver: Any, make_control: Callable[..., Control]) -> Control:
    """A control plane for the real homeserver, not started, with a store of its own."""
    return make_control(
        homeserver.credentials,
        homeserver_url=homeserver.url,
        listen_port=homeserver.appservice_port,
    )


@pytest.fixture(scope="module")
def alice(homeserver: Any) -> str:
    """The operator's access token."""
    return str(homeserver.create_user("alice"))


@pytest.fixture
def room_class() -> type[Room]:
    """Rooms as one person sees them."""
    return Room


@pytest.fixture
def room(homeserver: Any, control: Control, alice: str) -> Room:
    """The control room, with the control plane running and the operator in it."""
    control.start()
    return join(homeserver, control, alice)


def join(homeserver: Any, control: Control, token: str) -> Room:
    """Join the control room as somebody who was invited."""
    alias = quote(control.config["control_room_alias"])
    answer = homeserver.request("POST", f"/_matrix/client/v3/join/{alias}", token, {})
    answer.raise_for_status()
    return Room(homeserver, answer.json()["room_id"], token)
