"""The real Prometheus and Alertmanager beside the real control plane and Synapse.

    numbers of a test ─┐
    control plane ─────┴─▶ Prometheus ──▶ Alertmanager ──▶ control plane ──▶ room
                                               └──▶ second way: a receiver of the test

The configuration is that of NixOS, with other addresses and shorter waits: the module's alerts.yml,
and tests/support/alertmanager.json, which a test of the Nix suite compares with an evaluation.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from debian_programs import command, program

from agency import ports

ROOT = Path(__file__).resolve().parents[4]
RULES = ROOT / "modules/observability/alerts.yml"
CONFIGURATION = ROOT / "tests/support/alertmanager.json"


class Outside:
    """What the test puts beside them: numbers to scrape, and the receiver of the second way."""

    def __init__(self) -> None:
        self.trouble = 0
        self.received: list[dict[str, Any]] = []
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(f"agency_test_trouble {outside.trouble}\n".encode())

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outside.received.append(json.loads(self.rfile.read(length)))
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def names(self, status: str) -> set[str]:
        """The alerts of a status that came the second way."""
        return {
            alert["labels"]["alertname"]
            for body in list(self.received)
            for alert in body["alerts"]
            if alert["status"] == status
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _version(amtool: str) -> tuple[int, ...]:
    said = subprocess.run([amtool, "--version"], capture_output=True, text=True, timeout=30)
    found = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    assert found is not None
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Mail:
    """A mail server to tell Alertmanager of; `authority` (PEM) is all that it then trusts."""

    port: int
    password: Path
    authority: Path


@dataclass
class Monitoring:
    """Both programs, and what they are told."""

    place: Path
    control_port: int
    token: Path
    outside: Outside
    ports: dict[str, int]
    programs: dict[str, str]
    commands: dict[str, tuple[str, ...]]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    mail: Mail | None = None
    exporters: dict[str, int] = field(default_factory=dict)  # further ports to scrape, by job
    # One of its own for each test: the room of a module's tests is one room.
    trouble: str = field(default_factory=lambda: f"Trouble{secrets.token_hex(4)}")

    def mail_by(self, port: int, *, password: Path, authority: Path) -> None:
        """Tell Alertmanager of a mail server."""
        self.mail = Mail(port, password, authority)

    def start(self) -> None:
        """Configure and start both."""
        self.configure()
        self.start_alertmanager()
        self._run(
            "prometheus",
            f"--config.file={self.place / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.place / 'numbers'}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
            "--rules.alert.resend-delay=500ms",
        )

    def start_alertmanager(self) -> None:
        self._run(
            "alertmanager",
            f"--config.file={self.place / 'alertmanager.yml'}",
            f"--storage.path={self.place / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}",
            "--cluster.listen-address=",
        )

    def forget(self) -> None:
        """End Alertmanager and delete its notes on what it has delivered."""
        self.end("alertmanager")
        shutil.rmtree(self.place / "alerts")

    def end(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def amtool(self, *arguments: str) -> str:
        """The output of amtool about this Alertmanager."""
        url = f"--alertmanager.url=http://127.0.0.1:{self.ports['alertmanager']}"
        argv = [self.programs["amtool"], *arguments, url]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sees_control(self) -> bool:
        """Whether Prometheus has numbers of the control plane."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query"
        try:
            answer = requests.get(url, params={"query": 'up{job="control"} == 1'}, timeout=5)
        except requests.ConnectionError:
            return False
        return answer.status_code == 200 and bool(answer.json()["data"]["result"])

    def firing(self, group: str) -> set[tuple[str, str]]:
        """The alerts of a group of rules that fire, each with the agent or unit it is about."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/rules"
        groups = requests.get(url, timeout=5).json()["data"]["groups"]
        (rules,) = (one["rules"] for one in groups if one["name"] == group)
        return {
            (rule["name"], alert["labels"].get("agent") or alert["labels"].get("name", ""))
            for rule in rules
            for alert in rule["alerts"]
            if alert["state"] == "firing"
        }

    def value(self, query: str) -> float | None:
        """The one value of a query; None where there is none."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query"
        try:
            answer = requests.get(url, params={"query": query}, timeout=5)
        except requests.ConnectionError:
            return None
        result = answer.json()["data"]["result"] if answer.status_code == 200 else []
        return float(result[0]["value"][1]) if result else None

    def answers(self) -> bool:
        """Whether Alertmanager is there."""
        url = f"http://127.0.0.1:{self.ports['alertmanager']}/-/ready"
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def failed(self, integration: str = "webhook") -> float:
        """How many deliveries failed, to the webhooks or by mail."""
        url = f"http://127.0.0.1:{self.ports['alertmanager']}/metrics"
        text = requests.get(url, timeout=5).text
        name = rf'^alertmanager_notifications_failed_total\{{[^}}]*"{integration}"[^}}]*\}} (\S+)$'
        return sum(float(one) for one in re.findall(name, text, re.MULTILINE))

    def _run(self, name: str, *arguments: str) -> None:
        trust = {"SSL_CERT_FILE": str(self.mail.authority)} if self.mail else {}
        with (self.place / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.commands[name], *arguments],
                stdout=log,
                stderr=log,
                cwd=self.place,
                env=os.environ | trust,
            )

    def configure(self) -> None:
        """Write the configuration, and have it checked."""
        (self.place / "alertmanager.yml").write_text(json.dumps(self._alertmanager()))
        (self.place / "prometheus.yml").write_text(json.dumps(self._prometheus()))
        (self.place / "rules.yml").write_text(json.dumps(self._rules()))
        for argv in (
            ["amtool", "check-config", "alertmanager.yml"],
            ["promtool", "check", "config", "prometheus.yml"],
        ):
            checked = [self.programs[argv[0]], *argv[1:]]
            done = subprocess.run(checked, capture_output=True, text=True, cwd=self.place)
            assert done.returncode == 0, done.stdout + done.stderr

    def _alertmanager(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(CONFIGURATION.read_text())
        document["route"] |= {"group_wait": "200ms", "group_interval": "500ms"}
        room, second = document["receivers"]
        (hook,) = room["webhook_configs"]
        assert hook["url"] == "http://127.0.0.1:8010/alerts"
        hook["url"] = f"http://127.0.0.1:{self.control_port}/alerts"
        hook["http_config"]["authorization"]["credentials_file"] = str(self.token)
        if self.mail is None:
            del second["email_configs"]  # no mail server is here
        else:
            (mail,) = second["email_configs"]
            mail["smarthost"] = f"localhost:{self.mail.port}"
            mail["auth_password_file"] = str(self.mail.password)
        (hook,) = second["webhook_configs"]
        url = f"http://127.0.0.1:{self.outside.port}/"
        if _version(self.programs["amtool"]) < (0, 26):  # it cannot read an address from a file
            del hook["url_file"]
            hook["url"] = url
        else:
            (self.place / "url").write_text(url)
            hook["url_file"] = str(self.place / "url")
        return document

    def _prometheus(self) -> dict[str, Any]:
        targets = {
            "control": self.control_port,
            "alertmanager": self.ports["alertmanager"],
            "test": self.outside.port,
            **self.exporters,
        }
        return {
            "global": {"scrape_interval": "250ms", "evaluation_interval": "250ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for name, port in targets.items()
            ],
            "alerting": {
                "alertmanagers": [
                    {"static_configs": [{"targets": [f"127.0.0.1:{self.ports['alertmanager']}"]}]}
                ]
            },
        }

    def _rules(self) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load(RULES.read_text())
        for group in document["groups"]:
            for rule in group["rules"]:
                rule["for"] = "500ms"
        trouble = {
            "alert": self.trouble,
            "expr": "agency_test_trouble > 0",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "@room <b>trouble</b>", "description": "Of a test."},
        }
        document["groups"].append({"name": "test", "rules": [trouble]})
        return document


@pytest.fixture
def credentials(homeserver: Any, tmp_path: Path) -> Path:
    """The control plane's credentials, with Alertmanager's token."""
    place = tmp_path / "credentials"
    shutil.copytree(homeserver.credentials, place)
    (place / "alertmanager-token").write_text(secrets.token_urlsafe(32))
    return place


@pytest.fixture
def control(homeserver: Any, make_control: Callable[..., Any], credentials: Path) -> Any:
    """A control plane that takes alerts, not started."""
    return make_control(
        credentials,
        homeserver_url=homeserver.url,
        listen_port=homeserver.appservice_port,
        alerts=True,
    )


@pytest.fixture
def outside() -> Iterator[Outside]:
    with closing(Outside()) as made:
        yield made


@pytest.fixture
def monitoring(
    control: Any, credentials: Path, tmp_path: Path, outside: Outside
) -> Iterator[Monitoring]:
    """Both programs, not started."""
    token = credentials / "alertmanager-token"
    yield from beside(control.config["listen_port"], token, tmp_path, outside)


@pytest.fixture
def monitoring_alone(tmp_path: Path, outside: Outside) -> Iterator[Monitoring]:
    """Both programs where no control plane answers."""
    token = tmp_path / "token"
    token.write_text(secrets.token_urlsafe(32))
    nobody = ports.assign(("nobody",), {})["nobody"]
    yield from beside(nobody, token, tmp_path, outside)


def beside(
    control_port: int, token: Path, tmp_path: Path, outside: Outside
) -> Iterator[Monitoring]:
    place = tmp_path / "monitoring"
    place.mkdir()
    manager = "prometheus-alertmanager"  # Debian's name of it
    made = Monitoring(
        place=place,
        control_port=control_port,
        token=token,
        outside=outside,
        ports=ports.assign(("prometheus", "alertmanager"), {}),
        programs={
            "promtool": program("promtool", "prometheus"),
            "amtool": program("amtool", manager),
        },
        commands={
            "prometheus": (program("prometheus", "prometheus"),),
            "alertmanager": command(manager, manager),
        },
    )
    try:
        yield made
    finally:
        for name in list(made.running):
            with suppress(ProcessLookupError):
                made.end(name)
