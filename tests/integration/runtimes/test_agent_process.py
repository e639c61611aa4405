"""`agency agent run` as a real process: how it starts, refuses to start, serves, and ends."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from agency.protocols import acp

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def token() -> str:
    return secrets.token_urlsafe()


@pytest.fixture
def credentials(tmp_path: Path, token: str) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o700)
    (directory / acp.TOKEN_CREDENTIAL).write_text(token)
    return directory


@pytest.fixture
def start(tmp_path: Path, credentials: Path) -> Iterator[Start]:
    """Starts an agent with the given configuration; ends all at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(config: object, **environ: str) -> subprocess.Popen[str]:
        path = tmp_path / "agent.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        argv = [sys.executable, "-m", "agency", "agent", "run", "--json", "--config", str(path)]
        env = {"PATH": os.defpath, "CREDENTIALS_DIRECTORY": str(credentials), **environ}
        process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def config(port: int, **more: object) -> dict[str, object]:
    return {"name": "pm", "role": "pm", "port": port, **more}


def ask(port: int, path: str, token: str) -> requests.Response:
    deadline = time.monotonic() + 20
    while True:
        try:
            return requests.get(
                f"http://127.0.0.1:{port}{path}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=20,
            )
        except (requests.ConnectionError, requests.Timeout):
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.01)


def refusal(process: "subprocess.Popen[str]") -> dict[str, object]:
    """The error document with which the process ended."""
    _, log = process.communicate(timeout=30)
    error = json.loads(log.splitlines()[-1])["error"]
    assert error["exit_code"] == process.returncode
    return error


def test_it_serves_until_sigterm_and_ends_cleanly(
    start: Start, free_port: Callable[[], int], token: str
) -> None:
    port = free_port()
    process = start(config(port, project="new-app", trace="trace-1"))
    assert ask(port, "/health", token).json() == {"status": "ok", "agent": "pm"}
    status = acp.Status.model_validate_json(ask(port, "/status", token).content)
    assert (status.pid, status.project, status.trace) == (process.pid, "new-app", "trace-1")
    assert ask(port, "/health", "wrong").status_code == 401

    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert token not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines[0]["message"] == "listening"
    assert lines[-1]["message"] == "stopping"


def test_an_open_connection_does_not_hold_up_the_end(
    start: Start, free_port: Callable[[], int], token: str
) -> None:
    port = free_port()
    process = start(config(port))
    assert ask(port, "/health", token).status_code == 200
    head = f"GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    with (
        socket.create_connection(("127.0.0.1", port)) as idle,
        socket.create_connection(("127.0.0.1", port)) as half,
    ):
        half.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
        idle.sendall(f"{head}\r\n".encode())
        assert idle.recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_connections_have_a_bound(start: Start, free_port: Callable[[], int], token: str) -> None:
    port = free_port()
    start(config(port))
    assert ask(port, "/v1/health", token).status_code == 200
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(300)
        ]
        assert ask(port, "/v1/health", token).status_code == 200
        idle[0].settimeout(5)  # alone it would be ended after 15 s
        with contextlib.suppress(ConnectionError):
            assert idle[0].recv(1) == b"", "the oldest idle one made room"


def fewest_descriptors(pid: int) -> int:
    """The least number of open files within a moment: connections come and go."""
    return min(_descriptors(pid) for _ in range(20))


def _descriptors(pid: int) -> int:
    time.sleep(0.02)
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_restarts_leave_no_descriptor_behind_and_a_stop_ends_them(
    start: Start, free_port: Callable[[], int], token: str
) -> None:
    port = free_port()
    process = start(config(port))
    headers = {"Authorization": f"Bearer {token}"}
    fewest: list[int] = []
    for number in range(3):
        said = ask(port, "/v1/status", token).json()
        fewest.append(fewest_descriptors(process.pid))
        answer = requests.post(
            f"http://127.0.0.1:{port}/v1/process/restart",
            headers={**headers, "Idempotency-Key": f"restart-{number}"},
            json={"reason": "a test"},
            timeout=20,
        )
        assert (answer.status_code, answer.json()["incarnation"]) == (202, said["incarnation"])
        deadline = time.monotonic() + 20
        while ask(port, "/v1/status", token).json()["incarnation"] == said["incarnation"]:
            assert time.monotonic() < deadline, "it did not begin anew"
            time.sleep(0.05)
    assert fewest[1:] == [fewest[1]] * 2
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert token not in log
    told = [json.loads(line)["message"] for line in log.splitlines()]
    assert [each for each in told if each in ("listening", "restarting", "stopping")] == [
        *["listening", "restarting"] * 3,
        *("listening", "stopping"),
    ]


def test_the_token_is_in_neither_argv_nor_environment(
    start: Start, free_port: Callable[[], int], token: str
) -> None:
    port = free_port()
    process = start(config(port))
    assert ask(port, "/health", token).status_code == 200
    for name in ("cmdline", "environ"):
        seen = Path(f"/proc/{process.pid}/{name}").read_bytes()
        assert seen
        assert token.encode() not in seen


def test_it_listens_on_loopback_only(
    start: Start, free_port: Callable[[], int], token: str
) -> None:
    port = free_port()
    start(config(port))
    assert ask(port, "/health", token).status_code == 200
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", "", "127.0.0.1.x"])
def test_another_host_than_loopback_is_refused(
    start: Start, free_port: Callable[[], int], host: str
) -> None:
    process = start(config(free_port(), host=host))
    assert "not a loopback address" in str(refusal(process)["message"])
    assert process.returncode == 1


@pytest.mark.parametrize("kind", ["missing", "empty", "newline", "no-directory", "spaces"])
def test_without_a_token_it_does_not_start(
    start: Start, free_port: Callable[[], int], credentials: Path, kind: str
) -> None:
    file = credentials / acp.TOKEN_CREDENTIAL
    texts = {"empty": "", "newline": "\n", "spaces": "canary canary"}
    if kind in texts:
        file.write_text(texts[kind])
    else:
        file.unlink()
    environ = {"CREDENTIALS_DIRECTORY": ""} if kind == "no-directory" else {}
    error = refusal(start(config(free_port()), **environ))
    assert error["exit_code"] == 3
    assert "canary" not in json.dumps(error)
    assert error["hint"]


def test_a_taken_port_is_a_missing_prerequisite(start: Start, free_port: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        error = refusal(start(config(port)))
    assert error["exit_code"] == 3
    assert error["where"] == f"127.0.0.1:{port}"
    assert error["message"] == "the port is taken by another program"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ("{", "EOF"),
        ('{"name": "pm", "role": "pm"}', "port"),
        ('{"name": "pm", "role": "pm", "port": 0}', "port"),
        ('{"name": "pm", "role": "pm", "port": 70000}', "port"),
        ('{"name": "pm", "role": "pm", "port": 20001, "token": "x"}', "token"),
        ('{"name": "../pm", "role": "pm", "port": 20001}', "name"),
        (" " * 70_000, "larger than"),
    ],
)
def test_a_bad_configuration_is_refused(start: Start, text: str, message: str) -> None:
    error = refusal(start(text))
    assert error["exit_code"] == 1
    assert message in str(error["message"])
    assert str(error["where"]).endswith("agent.json")


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "agency", "agent", "run", "--json", "--config"]
    done = subprocess.run([*argv, str(tmp_path / "no")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "cannot read" in json.loads(done.stderr.splitlines()[-1])["error"]["message"]


def test_it_loads_no_more_than_it_needs() -> None:
    heavy = ("rich", "sqlalchemy", "mautrix", "cryptography", "jinja2", "yaml", "requests")
    code = f"import sys, agency.agent.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
