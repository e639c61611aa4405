"""`agency observe`: what may be asked, and that an answer is evidence or a reason."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.spinup.observe.program import Program, this_program
from agency.spinup.observe.questions import MAX_BYTES, MAX_QUESTIONS

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


def asked(*questions: dict[str, Any]) -> str:
    return json.dumps({"questions": questions})


def test_a_program_says_of_which_files_it_is(observe: Observe) -> None:
    (answer,) = json.loads(observe(asked({"what": "program"})).stdout)["answers"]
    assert Program.model_validate(answer["evidence"]) == this_program()


def test_each_question_has_its_answer_in_order(observe: Observe) -> None:
    done = observe(
        asked(
            {"what": "audit-count"},
            {"what": "audit-outcome", "trace": "t-2"},
            {"what": "audit-outcome", "trace": "t-9"},
            {"what": "audit-row", "sequence": 1},
            {"what": "audit-row", "sequence": 7},
            {"what": "health"},
        )
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)["answers"]
    assert [answer["evidence"] for answer in answers[:4]] == [
        {"count": 2},
        {"outcome": "refused"},
        {"outcome": None},
        {"count": 1, "head": "aa" * 32},
    ]
    assert "there is no row 7" in answers[4]["error"]
    assert "no token was handed to pm" in answers[5]["error"]
    assert answers[4]["evidence"] is answers[5]["evidence"] is None


def test_it_follows_line_by_line(observe: Observe) -> None:
    done = observe(f"{asked({'what': 'audit-count'})}\n" * 3, "--follow")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line)["answers"][0]["evidence"] for line in done.stdout.splitlines()]
    assert lines == [{"count": 2}] * 3


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "JSON"),
        ("{}", "questions"),
        (asked(), "at least 1"),
        (asked({"what": "shell", "argv": ["true"]}), "shell"),
        (asked({"what": "process", "pid": 1}), "pid"),
        (asked({"what": "chain", "path": "/etc/passwd"}), "path"),
        (asked(*[{"what": "audit-count"}] * (MAX_QUESTIONS + 1)), "at most"),
        (" " * (MAX_BYTES + 1), "more than"),
    ],
    ids=["nothing", "empty", "none", "unknown", "pid 1", "more", "too many", "too large"],
)
def test_what_is_no_question_is_refused(said: str, words: str, observe: Observe) -> None:
    done = observe(said)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_secret_that_is_asked_for_is_never_repeated(observe: Observe) -> None:
    secret = "correct-horse-battery"
    bad = asked({"what": "secrets", "values": [secret, 7, {"x": secret}]})
    done = observe(bad)
    assert done.returncode == 2
    assert secret not in done.stdout + done.stderr


def test_a_machine_without_an_agency_is_told_so(observe: Observe, config: Path) -> None:
    config.unlink()
    done = observe(asked({"what": "audit-count"}))
    assert done.returncode == 3
    assert "cannot read the configuration" in done.stderr
