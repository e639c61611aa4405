"""Schemathesis against a really running agent: it answers as its OpenAPI description says."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import schemathesis
from binding import free_port
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance

from agency.protocols import (
    ENDPOINTS,
    IDEMPOTENCY_HEADER,
    TOKEN_CREDENTIAL,
    AcpEndpoint,
    AgentStatus,
    openapi_document,
)

# 501 and 502 are described answers, and 422 and 409 depend on more than the schema can say.
EXCLUDED = [not_a_server_error, positive_data_acceptance]
FUZZED = [each for each in ENDPOINTS if each.answer is not None]  # a stream does not end
RESTARTS = 3  # each takes as long as the start of a process


@dataclass(frozen=True)
class Running:
    url: str
    token: str
    pid: int

    def ask(self, path: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.get(self.url + path, headers=headers, timeout=20)

    def status(self) -> AgentStatus:
        return AgentStatus.model_validate_json(self.ask("/v1/status").content)

    def wait_beyond(self, incarnation: str) -> None:
        """Wait until a restart is done; meanwhile a connection may be reset."""
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if self.status().incarnation != incarnation:
                    return
            assert time.monotonic() < deadline, "it did not begin anew"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("agent")
    token = secrets.token_urlsafe()
    port = free_port()
    (directory / TOKEN_CREDENTIAL).write_text(token)
    config = directory / "agent.json"
    config.write_text(json.dumps({"name": "pm", "role": "pm", "port": port}))
    argv = [sys.executable, "-m", "agency", "agent", "run", "--json", "--config", str(config)]
    env = {"PATH": os.defpath, "CREDENTIALS_DIRECTORY": str(directory)}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(argv, env=env, stderr=log)
    try:
        agent = Running(f"http://127.0.0.1:{port}", token, process.pid)
        deadline = time.monotonic() + 30
        while True:
            try:
                agent.ask("/v1/health").raise_for_status()
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "it does not listen"
                time.sleep(0.05)
        yield agent
        assert process.poll() is None, "it lives, whatever it was sent"
        assert "a request failed" not in (directory / "log").read_text()
    finally:
        process.kill()
        process.wait()


def fuzz(running: Running, endpoint: AcpEndpoint, mode: GenerationMode, examples: int) -> set[int]:
    """Send generated requests; return the statuses of the answers."""
    schema = schemathesis.openapi.from_dict(openapi_document())
    operation = schema[endpoint.path][endpoint.method]
    seen: set[int] = set()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        # A generated Authorization is one of the faults, and must not be replaced by the good one.
        faulty = mode is GenerationMode.NEGATIVE and "Authorization" in case.headers
        headers = {} if faulty else {"Authorization": f"Bearer {running.token}"}
        if mode is GenerationMode.POSITIVE and endpoint.request is not None:
            case.headers[IDEMPOTENCY_HEADER] = f"fuzz-{secrets.token_hex(8)}"  # else one is reused
        answer = case.call(base_url=running.url, headers=headers, timeout=20)
        seen.add(answer.status_code)
        if answer.status_code == 202:
            running.wait_beyond(answer.json()["incarnation"])
        # Only then: some checks send further requests.
        case.validate_response(answer, excluded_checks=EXCLUDED, headers=headers)

    send()
    return seen


def examples_for(endpoint: AcpEndpoint, many: int) -> int:
    return RESTARTS if endpoint.name == "restart" else many


@pytest.mark.parametrize("endpoint", FUZZED, ids=lambda each: each.name)
@pytest.mark.parametrize("many", [15, pytest.param(500, marks=pytest.mark.thorough)])
def test_messages_of_the_schema_get_described_answers(
    running: Running, endpoint: AcpEndpoint, many: int
) -> None:
    seen = fuzz(running, endpoint, GenerationMode.POSITIVE, examples_for(endpoint, many))
    expected = {endpoint.status, *endpoint.problems}
    assert seen & expected, f"none came as far as its handler: {seen}"
    assert running.status().pid == running.pid


@pytest.mark.parametrize(
    "endpoint", [each for each in FUZZED if each.request is not None], ids=lambda each: each.name
)
@pytest.mark.parametrize("many", [15, pytest.param(500, marks=pytest.mark.thorough)])
def test_what_breaks_the_schema_is_refused(
    running: Running, endpoint: AcpEndpoint, many: int
) -> None:
    before = running.status()
    seen = fuzz(running, endpoint, GenerationMode.NEGATIVE, many)
    assert seen, "nothing was sent"
    assert all(400 <= status < 500 for status in seen), seen
    after = running.status()
    assert after.incarnation == before.incarnation, "it was not restarted"
    assert after.config_sha256 == before.config_sha256
