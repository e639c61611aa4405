"""A real Synapse for the tests of what talks to one."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import binding
import properties
import pytest
import requests

from agency import ports
from agency.instance.model import Instance
from agency.instance.needs import required_secrets
from agency.instance.render import registration
from agency.secrets.providers import EphemeralProvider
from agency.spinup.targets.local import synapse

DOMAIN = "agency.example"
properties.use()
binding.use()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two tests of one id: of those, workers run one alone, and nothing tells."""
    times = Counter(item.nodeid for item in items)
    often = sorted(nodeid for nodeid, count in times.items() if count > 1)
    if often:
        raise pytest.UsageError(f"several tests have one id: {', '.join(often)}")


def example_instance() -> Instance:
    """A small instance: one operator, two agents, secrets that last as long as a test."""
    return Instance.model_validate(
        {
            "version": 1,
            "name": "test",
            "domain": DOMAIN,
            "operators": [f"@alice:{DOMAIN}"],
            "agents": {"pm": {"role": "pm"}, "developer": {"role": "developer"}},
            "rooms": {"approvals": True, "audit": True},
            "secrets": {"provider": "ephemeral"},
        }
    )


@dataclass
class Homeserver:
    """A running Synapse that knows our appservice; all on loopback, gone after the tests."""

    url: str
    domain: str
    as_token: str
    hs_token: str
    appservice_port: int
    credentials: Path
    shared_secret: str
    instance: Instance
    log: Path
    _txns: Iterator[int] = field(default_factory=itertools.count)

    def request(
        self, method: str, path: str, token: str | None = None, json: Any = None, **kwargs: Any
    ) -> requests.Response:
        """One call of its API; `path` begins with a slash."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(
            method, self.url + path, headers=headers, json=json, timeout=30, **kwargs
        )

    def create_user(self, localpart: str, *, admin: bool = False) -> str:
        """Register a user (once in a module) and return an access token."""
        import hashlib
        import hmac

        password = secrets.token_urlsafe(16)
        path = "/_synapse/admin/v1/register"
        nonce = self.request("GET", path).json()["nonce"]
        text = "\0".join([nonce, localpart, password, "admin" if admin else "notadmin"]).encode()
        mac = hmac.new(self.shared_secret.encode(), text, hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": localpart, "password": password, "mac": mac}
        answer = self.request("POST", path, json={**body, "admin": admin})
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def log_in(self, user: str, password: str) -> requests.Response:
        """Attempt to log in with a password."""
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
        }
        return self.request("POST", "/_matrix/client/v3/login", json=body)

    def say(self, token: str, room: str, text: str, **content: Any) -> str:
        """Send a text message, with more content; returns its event id."""
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/t{next(self._txns)}"
        message = {"msgtype": "m.text", "body": text, **content}
        answer = self.request("PUT", path, token, message)
        answer.raise_for_status()
        return str(answer.json()["event_id"])

    def messages(self, token: str, room: str) -> list[dict[str, Any]]:
        """The newest messages of a room, newest first."""
        path = f"/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100"
        answer = self.request("GET", path, token)
        answer.raise_for_status()
        return [e for e in answer.json()["chunk"] if e["type"] == "m.room.message"]


@pytest.fixture(scope="module")
def homeserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    """A fresh Synapse for each test module."""
    place = tmp_path_factory.mktemp("synapse")
    instance = example_instance()
    free = ports.assign(("homeserver", "appservice"), {})
    with EphemeralProvider(required_secrets(instance), place / "secrets") as provider:
        tokens = {
            name: provider.get(f"matrix-{name}").reveal() for name in ("as-token", "hs-token")
        }
        file = place / "registration.yaml"
        file.write_bytes(
            registration(
                instance,
                url=f"http://127.0.0.1:{free['appservice']}",
                as_token=tokens["as-token"],
                hs_token=tokens["hs-token"],
            )
        )
        plan = synapse.SynapsePlan(
            domain=DOMAIN,
            port=free["homeserver"],
            data=place / "data",
            credentials=provider.credentials(synapse.SECRETS),
            registrations=(file,),
        )
        argv = synapse.install(plan)
        log = place / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                argv,
                stdout=sink,
                stderr=sink,
                env={"PATH": os.environ["PATH"], "HOME": str(place)},
            )
        try:
            _wait(plan.url, process, log)
            yield Homeserver(
                url=plan.url,
                domain=DOMAIN,
                as_token=tokens["as-token"],
                hs_token=tokens["hs-token"],
                appservice_port=free["appservice"],
                credentials=provider.credentials(
                    ("matrix-as-token", "matrix-hs-token", "vault-master-key")
                ),
                shared_secret=provider.get("matrix-registration-shared-secret").reveal(),
                instance=instance,
                log=log,
            )
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{url}/health", timeout=1).status_code == 200:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.05)
    pytest.fail(f"{sys.executable} -m synapse did not start:\n{log.read_text()}")
