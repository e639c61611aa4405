"""`agency observe`: which probes there are, and that an answer is evidence or a reason."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.spinup.observe.commands import MAX_BYTES
from agency.spinup.program import Program, this_program

Observe = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a control plane whose store has three rows."""
    database = tmp_path / "control.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE audit (sequence INTEGER, hash TEXT, trace TEXT, outcome)")
        rows = [(1, "aa" * 32, "t-1", "done"), (2, "bb" * 32, "t-2", "refused")]
        connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?)", rows)
    connection.close()
    path = tmp_path / "control.json"
    agents = [{"name": "pm", "role": "pm", "matrix_id": "@agent-pm:a.example", "port": 24875}]
    path.write_text(
        json.dumps(
            {
                "instance": "sample",
                "domain": "a.example",
                "homeserver_url": "http://127.0.0.1:8008",
                "listen_port": 8010,
                "bot_id": "@agency:a.example",
                "control_room_alias": "#control:a.example",
                "operators": ["@alice:a.example"],
                "agents": agents,
                "database_url": f"sqlite+aiosqlite:///{database}",
                "state_dir": str(tmp_path),
                "runtime": "systemd",
            }
        )
    )
    return path


@pytest.fixture
def observe(config: Path) -> Observe:
    def run(said: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "agency", "observe", "--config", str(config), *arguments]
        return subprocess.run(argv, input=said, capture_output=True, text=True, timeout=60)

    return run


def asked(probe: str, **told: Any) -> str:
    return json.dumps({"probe": probe, "told": told})


def test_a_program_says_of_which_files_it_is(observe: Observe) -> None:
    done = observe("", "agency.program")
    assert Program.model_validate(json.loads(done.stdout)) == this_program()


def test_each_line_has_its_answer_in_order(observe: Observe) -> None:
    lines = (
        asked("audit.count"),
        asked("audit.outcome", trace="t-2"),
        asked("audit.outcome", trace="t-9"),
        asked("audit.row", sequence=1),
        asked("audit.row", sequence=7),
        asked("agents.health"),
    )
    done = observe("".join(f"{line}\n" for line in lines), "--follow")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["evidence"] for answer in answers[:4]] == [
        {"count": 2},
        {"outcome": "refused"},
        {"outcome": None},
        {"count": 1, "head": "aa" * 32},
    ]
    assert "there is no row 7" in answers[4]["error"]
    assert "no token was handed to pm" in answers[5]["error"]
    assert answers[4]["evidence"] is answers[5]["evidence"] is None


def test_one_probe_takes_its_input_from_standard_input(observe: Observe) -> None:
    done = observe('{"trace": "t-2"}', "audit.outcome")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"outcome": "refused"})


def test_a_probe_that_cannot_look_is_a_finding(observe: Observe) -> None:
    done = observe('{"sequence": 7}', "audit.row")
    assert done.returncode == 1
    assert "there is no row 7" in done.stderr


def test_probes_are_listed_with_what_they_look_at(observe: Observe) -> None:
    done = observe("", "--list", "--json")
    listed = json.loads(done.stdout)
    assert {"agents.health", "audit.chain", "secrets.search", "store.schema"} <= listed.keys()
    assert all(listed.values())
    assert "audit.chain" in observe("", "--list").stdout


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("\n", "JSON"),
        ("{}", "probe"),
        (asked("shell", argv=["true"]), "shell"),
        (asked("homeserver.process", pid=1), "pid"),
        (asked("audit.chain", path="/etc/passwd"), "path"),
        (" " * (MAX_BYTES + 1), "more than"),
    ],
    ids=["nothing", "empty", "unknown", "pid 1", "more", "too large"],
)
def test_a_line_that_names_no_probe_is_refused(said: str, words: str, observe: Observe) -> None:
    done = observe(said, "--follow")
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("said", "arguments", "words"),
    [
        ("", (), "name a probe"),
        ("", ("shell",), "no probe 'shell'"),
        ("[]", ("audit.count",), "document"),
        ('{"pid": 1}', ("homeserver.process",), "pid"),
        (" " * (MAX_BYTES + 1), ("audit.count",), "more than"),
    ],
    ids=["no name", "unknown", "no object", "pid 1", "too large"],
)
def test_a_call_that_names_no_probe_is_refused(
    said: str, arguments: tuple[str, ...], words: str, observe: Observe
) -> None:
    done = observe(said, *arguments)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("follow", [True, False])
def test_a_secret_that_is_asked_for_is_never_repeated(observe: Observe, follow: bool) -> None:
    secret = "correct-horse-battery"
    told = {"values": [secret, 7, {"x": secret}]}
    if follow:
        done = observe(asked("secrets.search", **told), "--follow")
    else:
        done = observe(json.dumps(told), "secrets.search")
    assert done.returncode == 2
    assert secret not in done.stdout + done.stderr


def test_a_machine_without_an_agency_is_told_so(observe: Observe, config: Path) -> None:
    config.unlink()
    done = observe("", "audit.count")
    assert done.returncode == 3
    assert "cannot read the configuration" in done.stderr
