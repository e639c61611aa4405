"""`agency up`, `status`, `room`, `down`: a local agency as somebody would try it out."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
import requests
from mautrix.client import ClientAPI
from mautrix.types import PaginationDirection

from agency.children import processes_with_marker


@pytest.fixture
def up(agency):
    started = agency("up", "--json")
    assert started.returncode == 0, started.stderr
    yield json.loads(started.stdout)["agency"]
    agency("down")


def test_a_day_with_a_local_agency(agency, up):
    again = json.loads(agency("up", "--json").stdout)
    assert again["agency"]["pid"] == up["pid"], "a second `up` must do nothing"
    status = agency("status", "--json")
    assert status.returncode == 0
    shown = json.loads(status.stdout)
    assert (shown["ready"], shown["reasons"], shown["warnings"]) == (True, [], [])

    said = agency("room", "agents", "start", "pm", "--project", "new-app")
    assert said.returncode == 0, said.stderr
    assert "new-app" in agency("room", "agents", "status", "pm").stdout
    refused = agency("room", "agents", "start", "nobody")
    assert refused.returncode == 1
    assert "nobody" in refused.stdout + refused.stderr

    password = Path(up["password_file"])
    assert password.stat().st_mode & 0o777 == 0o600
    assert Path(up["login_file"]).stat().st_mode & 0o777 == 0o600
    assert asyncio.run(_ask_by_library(up, password.read_text(), "!stop-agent pm"))

    run = password.parents[1].name
    assert agency("down").returncode == 0
    assert processes_with_marker(run) == ()
    assert not password.exists()
    assert not Path(up["login_file"]).exists()
    assert agency("down").stdout.strip() == "nothing was running"
    assert agency("status").returncode == 1


def test_it_serves_the_http_interface_to_who_makes_a_token(agency, up, tmp_path):
    url, file = up["api"], tmp_path / "token"
    assert url.startswith("http://127.0.0.1:")
    assert requests.get(f"{url}/api/v1/health", timeout=5).json()["status"] == "ok"
    assert requests.get(f"{url}/api/v1/status", timeout=5).status_code == 401
    person = f"--person={up['operator']}"
    made = agency("tokens", "create", person, "--role=operator", f"--output={file}")
    assert made.returncode == 0, made.stderr
    way = (f"--url={url}", f"--token-file={file}")
    did = agency("do", "agents", "start", "pm", "--json", *way)
    assert did.returncode == 0, did.stderr
    token = {"Authorization": f"Bearer {file.read_text().strip()}"}
    told = requests.get(f"{url}/api/v1/status", headers=token, timeout=5).json()
    assert told["agents"]["running"] == 1
    assert agency("status").stdout.count(url) == 1


async def _ask_by_library(up: dict, password: str, text: str) -> bool:
    """Log in with the Matrix client library as the operator, say a command, read the reply."""
    client = ClientAPI(base_url=up["homeserver"])
    try:
        await client.login(up["operator"], password=password)
        room = await client.join_room(up["control_room"])
        asked = await client.send_text(room, text)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            page = await client.get_messages(room, PaginationDirection.BACKWARD, limit=20)
            for event in page.events:
                reply = event.content.get("org.agency.reply", None)
                if reply and reply["command"] == asked:
                    return bool(reply["ok"])
            await asyncio.sleep(0.1)
        return False
    finally:
        await client.api.session.close()


def test_a_service_that_is_killed_is_started_again(agency, up):
    run = Path(up["password_file"]).parents[1].name
    control = next(
        pid
        for pid in processes_with_marker(run)
        if b"control" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    )
    os.kill(control, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = agency("room", "ping")
        if answer.returncode == 0:
            break
    assert answer.returncode == 0, answer.stderr
    assert control not in processes_with_marker(run)


def test_a_killed_local_agency_is_cleaned_up_by_the_next_down(agency, up):
    run = Path(up["password_file"]).parents[1].name
    os.kill(up["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while processes_with_marker(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert agency("status").returncode == 1
    assert agency("down").returncode == 0
    assert processes_with_marker(run) == ()
    assert not Path(up["password_file"]).exists()


WORKING = """\
version: 1
name: working
domain: agency.example
operators: ["@alice:agency.example"]
models:
  providers: {here: {kind: openai, url: "http://127.0.0.1:9", key: false}}
  offered: {small: {provider: here, price: {input: 0, output: 0}}}
agents:
  pm: {role: pm, program: {model: small, budget: {tokensPerDay: 1000, usdPerDay: 1}}}
  developer: {role: developer, workspace: {enable: true}, taskLoop: {enable: true}}
secrets: {provider: ephemeral}
"""


def _programs(run: str) -> dict[str, int]:
    """Processes of a run that are programs of agents or the proxy, by their subcommand."""
    found = {}
    for pid in processes_with_marker(run):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "agent" in words:
            found[words[words.index("agent") + 1]] = pid
    return found


def _until(wanted) -> None:
    deadline = time.monotonic() + 60
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_with_models_it_runs_one_proxy_and_gives_an_agent_its_programs(agency, tmp_path):
    (tmp_path / "instance.yaml").write_text(WORKING)
    started = agency("up", "--json", "--instance", str(tmp_path))
    assert started.returncode == 0, started.stderr
    up = json.loads(started.stdout)["agency"]
    assert up["only_on_hosts"] == {"developer": ["workspace", "taskLoop"]}
    run = Path(up["password_file"]).parents[1].name
    try:
        live = f"http://127.0.0.1:{up['ports']['models']}/live"
        _until(lambda: "proxy" in _programs(run))
        _until(lambda: requests.get(live, timeout=5).status_code == 200)
        services = json.loads(agency("status", "--json").stdout)["agency"]["services"]
        assert {each["name"]: each["running"] for each in services}["models"] is True
        assert agency("room", "agents", "start", "developer").returncode == 0
        assert set(_programs(run)) == {"proxy", "run"}
        assert agency("room", "agents", "start", "pm").returncode == 0
        _until(lambda: set(_programs(run)) == {"proxy", "run", "gateway"})
        first = _programs(run)["proxy"]
        os.kill(first, signal.SIGKILL)
        _until(lambda: _programs(run).get("proxy", first) != first)
        assert requests.get(live, timeout=30).status_code == 200
        assert agency("room", "agents", "stop", "pm").returncode == 0
        assert set(_programs(run)) == {"proxy", "run"}
    finally:
        assert agency("down").returncode == 0
    assert processes_with_marker(run) == ()


def test_a_bad_instance_is_told_at_once(agency, tmp_path):
    (tmp_path / "instance.yaml").write_text("version: 1\n")
    failed = agency("up", "--instance", str(tmp_path))
    assert failed.returncode == 1
    assert "instance.yaml" in failed.stderr
    assert agency("status").returncode == 1
