"""A store that is damaged on disk: the control plane refuses it, and a restore mends it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from backing import HOST, INSTANCE, Machine

from agency import ports
from agency.backup import create_backup
from agency.control import verify_database

RESTORE = re.compile(r"`(agency backup restore [^`]+)`")


def scribble(store: Path) -> None:
    """Lose pages in the middle of the file, as a bad disk does."""
    size = store.stat().st_size
    with store.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * min(3 * 4096, size // 2))


def overwrite(store: Path) -> None:
    store.write_bytes(b"this was a database once" * 400)


def cut(store: Path) -> None:
    """Lose the last half of the file."""
    os.truncate(store, store.stat().st_size // 2 // 4096 * 4096)


class Starting:
    """The real `agency control run` on the machine's store; there is no homeserver."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.credentials = machine.place / "tokens"
        self.credentials.mkdir()
        for name in ("matrix-as-token", "matrix-hs-token"):
            (self.credentials / name).write_text(f"{name}-of-this-test")
        document = {
            "instance": INSTANCE,
            "domain": "agency.example",
            "homeserver_url": "http://127.0.0.1:9",
            "listen_port": ports.assign(("control",), {})["control"],
            "bot_id": "@agency:agency.example",
            "control_room_alias": "#control:agency.example",
            "operators": ["@alice:agency.example"],
            "agents": [],
            "database_url": f"sqlite+aiosqlite:///{machine.store}",
            "state_dir": str(machine.place / "control-state"),
        }
        self.config = machine.place / "control.json"
        self.config.write_text(json.dumps(document))
        self.log = machine.place / "control.log"

    def __call__(self, seconds: float = 30) -> tuple[int | None, str]:
        """Start it; the exit status and log, or None for the status once it waits for Matrix."""
        argv = [sys.executable, "-m", "agency", "control", "run", "--config", str(self.config)]
        env = {**os.environ, "CREDENTIALS_DIRECTORY": str(self.credentials)}
        with self.log.open("wb") as sink:
            process = subprocess.Popen(argv, stdout=sink, stderr=sink, env=env)
        try:
            end = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < end:
                if "waiting for the homeserver" in self.log.read_text():
                    break
                time.sleep(0.05)
            return process.poll(), self.log.read_text()
        finally:
            process.kill()
            process.wait()


THOROUGH = pytest.mark.thorough


@pytest.mark.parametrize(
    "harm",
    [scribble, pytest.param(overwrite, marks=THOROUGH), pytest.param(cut, marks=THOROUGH)],
)
def test_it_is_refused_with_the_restore_that_mends_it(
    machine: Machine, harm: Callable[[Path], None]
) -> None:
    machine.say(300)
    start = Starting(machine)
    create_backup(machine.settings, machine.clock)
    before = verify_database(machine.store)

    with closing(sqlite3.connect(machine.store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    harm(machine.store)
    status, log = start()
    assert status == 1, log
    assert "the database is damaged" in log
    found = RESTORE.search(log)
    assert found is not None, "the command that restores is not named"

    argv = found[1].replace("HOST", HOST).split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "agency", *argv, "--config", str(machine.config), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    head = {"count": before.count, "head": before.head}
    assert answer["audit_before"] == answer["audit_after"] == head
    after = verify_database(machine.store, instance=INSTANCE)
    assert (after.ok, after.count, after.head) == (True, before.count, before.head)
    status, log = start()
    assert status is None, f"the positive control, a whole store: {log}"


def test_a_changed_row_is_not_damage_and_is_found_by_the_audit(machine: Machine) -> None:
    """Bytes that changed inside a row leave the pages whole: the chain finds them."""
    machine.say(300)
    machine.forge_a_row()
    report = verify_database(machine.store)
    assert (report.ok, report.first_bad) == (False, 2)
