"""The store cannot be written for a while: a command is run once, when it can, and never lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

START = "!agency agents start pm --project=site"


def gauge(control: Any, name: str) -> str:
    text = requests.get(f"{control.url}/metrics", timeout=20).text
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.split()[1]


def starts(control: Any) -> list[str]:
    """The outcomes of the starts in the audit log."""
    return [row["outcome"] for row in control.audit() if row["action"] == "agents start"]


def sends_and_waits_while(
    room: Any, control: Any, wait_for: Any, mend: Callable[[], None], said: str
) -> None:
    """Command while the store is in trouble; see that it says so, lives on, and does it once."""
    event = room.say(START)

    def refused() -> list[str]:
        answer = control.ready(20)
        return list(answer.json()["reasons"]) if answer.status_code == 503 else []

    reasons = wait_for(refused, "a 503 of /ready", 40)
    assert any(said in reason for reason in reasons), reasons
    assert requests.get(f"{control.url}/live", timeout=20).status_code == 200
    assert room.replies(event) == []
    assert control.process.poll() is None, "it ended"
    mend()
    answer = wait_for(lambda: room.replies(event), "the reply", 60)[0]
    assert answer["content"]["org.agency.reply"]["ok"] is True, answer["content"]["body"]
    assert control.ready(20).status_code == 200
    assert gauge(control, "agency_control_database_writable") == "1.0"
    assert starts(control) == ["accepted", "done"]
    assert control.verify() == 0


def test_a_database_that_another_program_locks(control: Any, room: Any, wait_for: Any) -> None:
    room.ask("!agency ping")
    with closing(sqlite3.connect(control.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def release() -> None:
            assert gauge(control, "agency_control_database_writable") == "0.0"
            other.execute("ROLLBACK")

        sends_and_waits_while(room, control, wait_for, release, "database cannot be written")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room on a file system; return the file that takes it."""
    file = place / "noise"
    with file.open("wb", buffering=0) as sink:
        size = 65536
        while size:
            try:
                sink.write(b"x" * size)
            except OSError:
                size //= 2
    return file


def test_a_disk_that_is_full(
    homeserver: Any,
    alice: str,
    make_control: Callable[..., Any],
    room_class: Any,
    wait_for: Any,
    small: Path,
) -> None:
    control = make_control(
        homeserver.credentials,
        homeserver_url=homeserver.url,
        listen_port=homeserver.appservice_port,
        database_url=f"sqlite+aiosqlite:///{small}/control.db",
    )
    (control.place / "control.db").symlink_to(small / "control.db")
    room_id = control.start()["room"]["id"]
    path = f"/_matrix/client/v3/join/{room_id}"
    assert homeserver.request("POST", path, alice, {}).ok
    room = room_class(homeserver, room_id, alice)
    room.ask("!agency ping")
    noise = fill(small)
    sends_and_waits_while(room, control, wait_for, noise.unlink, "transaction was refused")
