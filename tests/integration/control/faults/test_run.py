"""How `agency control run` begins and ends, and with which exit status."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(control: Any, stub: Any, make_event: Any, wait_for: Any, number: int) -> None:
    control.start()
    event = make_event("!start-agent pm")
    control.deliver([event])
    wait_for(lambda: stub.replies(event["event_id"]), "reply")
    pid = control.pid_of("pm")
    begun = time.monotonic()
    assert control.stop(number) == 0
    assert time.monotonic() - begun < 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    lines = [json.loads(line) for line in control.log.read_text().splitlines()]
    messages = [line["message"] for line in lines]
    assert "ready" in messages
    assert messages[-1] == "stopped"
    assert control.verify() == 0


def test_ctrl_c_is_not_for_a_background_job_and_sigterm_is(control: Any) -> None:
    control.start(signal.SIG_IGN)
    control.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        control.process.wait(1)
    assert control.ready(5).status_code == 200
    assert control.stop() == 0


def test_stop_while_an_agent_is_being_started(control: Any, make_event: Any, wait_for: Any) -> None:
    control.start()
    control.deliver([make_event("!start-agent pm")])
    wait_for(lambda: control.query("SELECT 1 FROM operations WHERE state = 'running'"), "start")
    begun = time.monotonic()
    assert control.stop() == 0
    assert time.monotonic() - begun < 5
    assert control.query("SELECT count(*) FROM inbox WHERE state = 'pending'") == [(0,)]


def test_stop_while_the_homeserver_hangs(control: Any, stub: Any, make_event: Any) -> None:
    control.start()
    stub.fail("/send/", times=10, status=503)
    control.deliver([make_event("!agency ping")])
    begun = time.monotonic()
    assert control.stop() == 0
    assert time.monotonic() - begun < 5


def test_stop_while_waiting_for_the_homeserver(make_control: Any, credentials: Path) -> None:
    control = make_control(credentials, homeserver_url="http://127.0.0.1:9")
    process = control.launch()
    deadline = time.monotonic() + 20
    while "waiting for the homeserver" not in control.log.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert control.stop() == 0


def ended(control: Any) -> tuple[int, str]:
    """The exit status of a control plane that ends by itself, and the last it said."""
    process = control.launch()
    status = process.wait(30)
    control.process = None
    return status, control.log.read_text()


def test_homeserver_that_never_answers(make_control: Any, credentials: Path) -> None:
    limits = {"setup_timeout_s": 1}
    control = make_control(credentials, homeserver_url="http://127.0.0.1:9", limits=limits)
    status, log = ended(control)
    assert status == 3
    assert "the homeserver was not usable within 1 s" in log


def test_homeserver_that_refuses_us(control: Any, stub: Any) -> None:
    stub.fail("register", status=401, body={"errcode": "M_UNKNOWN_TOKEN", "error": "no"})
    status, log = ended(control)
    assert status == 3
    assert "check that it has loaded the agency's registration" in log


def test_homeserver_that_needs_time(control: Any, stub: Any, make_event: Any) -> None:
    stub.fail("register", times=2, status=502)
    stub.fail("directory", status=429, body={"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 50})
    stub.fail("join", status=None)
    control.start()
    assert control.deliver([make_event("!agency ping")]).status_code == 200


def test_users_that_exist_already(control: Any, stub: Any) -> None:
    stub.fail("register", times=3, status=400, body={"errcode": "M_USER_IN_USE"})
    control.start()


def test_port_that_is_taken(control: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", control.config["listen_port"]))
        other.listen()
        status, log = ended(control)
    assert status == 3
    assert "the port is taken" in log


def test_second_control_plane_in_one_state_directory(control: Any, make_control: Any) -> None:
    control.start()
    other = make_control(control.credentials, homeserver_url=control.config["homeserver_url"])
    status, log = ended(other)
    assert status == 3
    assert "another control plane runs in this state directory" in log


def test_newer_database(control: Any) -> None:
    control.start()
    control.stop()
    with closing(sqlite3.connect(control.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    status, log = ended(control)
    assert status == 3
    assert "revision '9999'" in log


def test_database_of_another_instance(control: Any) -> None:
    control.start()
    control.stop()
    control.config["instance"] = "other"
    status, log = ended(control)
    assert status == 1
    assert "belongs to the instance 'test'" in log


def test_database_that_is_none(control: Any) -> None:
    control.database.write_text("something else " * 1000)
    status, log = ended(control)
    assert status == 1
    assert "the database is damaged: file is not a database" in log
    assert "agency backup restore" in log


def test_systemd_runtime_outside_of_systemd(control: Any) -> None:
    control.config["runtime"] = "systemd"
    status, log = ended(control)
    assert status == 3
    assert "$RUNTIME_DIRECTORY" in log


@pytest.mark.parametrize("name", ["matrix-as-token", "matrix-hs-token"])
def test_missing_credential(control: Any, name: str) -> None:
    (control.credentials / name).unlink()
    status, log = ended(control)
    assert status == 3
    assert name in log


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operators": []}, "operators"),
        ({"listen_port": 0}, "listen_port"),
        ({"nonsense": 1}, "nonsense"),
        ({"limits": {"max_inbox": -1}}, "limits.max_inbox"),
        ({"database_url": "mysql://x/y"}, "mysql"),
        ({"instance": None}, "instance"),
        ({"runtime": "podman"}, "runtime"),
        ({"runtime": "docker"}, "agent-image"),
    ],
)
def test_bad_configuration(control: Any, changes: dict[str, Any], said: str) -> None:
    control.config |= changes
    status, log = ended(control)
    assert status == 1
    assert said in log


def test_what_it_writes_is_nobody_elses_to_read(control: Any) -> None:
    control.start()
    for path in (control.database, *(control.place / "state").rglob("*")):
        if not path.name.startswith("control.db-"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_store_that_cannot_be_written_for_a_while(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    control.start()
    event = make_event("!start-agent pm")
    with closing(sqlite3.connect(control.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = control.deliver([event], txn="one")
        assert answer.status_code == 500, "not acknowledged: the homeserver delivers again"
        ready = control.ready(30)
        assert ready.status_code == 503
        assert ready.json()["database"] == {"writable": False}
        assert requests.get(f"{control.url}/health", timeout=5).status_code == 200
        other.execute("ROLLBACK")
    assert control.deliver([event], txn="one").status_code == 200
    wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert control.ready(5).status_code == 200


def test_second_control_plane_on_one_database(
    control: Any, make_control: Any, tmp_path: Path
) -> None:
    """Each has a state directory and a port of its own; the database is the same."""
    control.start()
    assert control.process is not None
    first = control.process.pid
    other = make_control(
        control.credentials,
        homeserver_url=control.config["homeserver_url"],
        state_dir=str(tmp_path / "other"),
    )
    assert other.config["listen_port"] != control.config["listen_port"]
    assert other.config["database_url"] == control.config["database_url"]
    status, log = ended(other)
    assert status == 3
    assert f"the database is held by process {first} on {os.uname().nodename}" in log
    assert f"the state directory {control.config['state_dir']}" in log
    control.stop(signal.SIGKILL)
    other.start()
    assert other.stop() == 0
