"""`agency audit` as an auditor runs it, beside a control plane and on what it left."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import forking
import pytest


def agency(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = forking.run(*arguments, timeout=30)
    said = (done.stdout.decode(), done.stderr.decode())
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


@pytest.fixture
def audited(control: Any, stub: Any, make_event: Any, wait_for: Any) -> Any:
    """A running control plane whose log has a few rows."""
    control.start()
    events = [make_event("!agency ping") for _ in range(4)]
    control.deliver(events)
    wait_for(lambda: stub.replies(events[-1]["event_id"]), "replies")
    return control


def test_verify_beside_the_running_control_plane(audited: Any) -> None:
    done = agency("audit", "verify", "--database", str(audited.database), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ok"], report["count"]) == (True, 5)
    again = agency(
        *("audit", "verify", "--config", str(audited.place / "control.json")),
        *("--instance", "test", "--head", report["head"].upper(), "--count", "5"),
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "whole: 5 rows" in again.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE audit SET actor = '@mallory:x' WHERE sequence = 3", 3),
        ("DELETE FROM audit WHERE sequence = 2", 2),
        ("DELETE FROM audit WHERE sequence = 5", 5),
    ],
)
def test_tampered_log_is_found(audited: Any, statement: str, first_bad: int) -> None:
    audited.stop()
    with closing(sqlite3.connect(audited.database)) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()
    done = agency("audit", "verify", "--database", str(audited.database), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["first_bad"] == first_bad
    human = agency("audit", "verify", "--database", str(audited.database))
    assert f"BAD at row {first_bad}" in human.stdout
    if first_bad == 5:
        process = audited.launch()
        assert process.wait(20) == 1, "a log whose end was cut is not continued"
        audited.process = None
        assert "does not end at row 5" in audited.log.read_text()


def test_head_that_is_not_in_the_log(audited: Any) -> None:
    head = "0" * 64
    for count in ("3", "9"):
        done = agency(
            *("audit", "verify", "--database", str(audited.database)),
            *("--head", head, "--count", count),
        )
        assert done.returncode == 1


def test_tail_and_export_are_json_lines(audited: Any) -> None:
    tail = agency("audit", "tail", "--database", str(audited.database), "-n", "2")
    assert [json.loads(line)["sequence"] for line in tail.stdout.splitlines()] == [4, 5]
    export = agency("audit", "export", "--database", str(audited.database))
    assert [json.loads(line)["sequence"] for line in export.stdout.splitlines()] == [1, 2, 3, 4, 5]
    as_list = agency("audit", "export", "--database", str(audited.database), "--json")
    assert len(json.loads(as_list.stdout)) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--database", "a", "--config", "b"),
        ("--database", "a", "--head", "00"),
        ("--database", "a", "--count", "1"),
        ("--database", "a", "--count", "-1", "--head", "00"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert agency("audit", "verify", *arguments).returncode == 2


def test_database_that_is_not_there(tmp_path: Any) -> None:
    done = agency("audit", "verify", "--database", str(tmp_path / "none.db"))
    assert done.returncode == 3
    assert "no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []
