"""A local agency keeps what it knows: its services crash, its supervisor is killed, it is stopped.

Each `agency up` here is a real Synapse and a real control plane.
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from binding import somebody_binds
from driving import BIN, ROOT

from agency.children import processes_with_marker

WAIT_S = 120
MOMENTS = ["at once", pytest.param("later", marks=pytest.mark.thorough)]


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "agency-state" / "agency" / "local"


@pytest.fixture
def popen(tmp_path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `agency` without waiting, in the same state directory as the fixture `agency`."""
    started: list[subprocess.Popen[str]] = []
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "agency-state"),
        "LANG": "C.UTF-8",
    }

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["/usr/bin/env", "--default-signal=INT", str(BIN / "agency"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def down(agency) -> Iterator[None]:
    yield
    agency("down")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def runs(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir()] if place.is_dir() else []


def find(run: Path, *words: str) -> int:
    """The pid of a process of the run whose command line has these words."""
    found: list[int] = []

    def look() -> bool:
        for pid in processes_with_marker(run.name):
            with contextlib.suppress(OSError):
                words_of = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if all(word.encode() in words_of for word in words):
                    found.append(pid)
        return bool(found)

    until(look)
    return found[0]


def ended(pids: set[int]) -> bool:
    """Return whether none of them runs; a zombie, whose parent is slow to look, does not."""
    left = [Path(f"/proc/{pid}/stat") for pid in pids if Path(f"/proc/{pid}").exists()]
    return all(stat.read_text().rpartition(")")[2].split()[0] == "Z" for stat in left)


def audit_rows(run: Path) -> int:
    with contextlib.closing(sqlite3.connect(run / "control" / "control.db")) as database:
        return int(database.execute("select count(*) from audit").fetchone()[0])


def up(agency) -> dict:
    started = agency("up", "--json")
    assert started.returncode == 0, started.stderr
    return json.loads(started.stdout)["agency"]


@pytest.mark.thorough  # test_keep.py has one killed once
def test_services_killed_again_and_again_come_back_and_nobody_gets_their_ports(
    agency, place, down
) -> None:
    state = up(agency)
    run = runs(place)[0]
    assert agency("room", "agents", "start", "pm").returncode == 0
    with somebody_binds(*state["ports"].values()) as got:
        for count in range(6):  # more than a minute of them was enough to give up
            os.kill(find(run, "control", "run"), signal.SIGKILL)
            if count == 0:
                os.kill(find(run, "synapse.app.homeserver"), signal.SIGKILL)
            time.sleep(3)  # six in half a minute; the old rule gave up after five in sixty seconds
        until(lambda: agency("status").returncode == 0)
        assert agency("room", "ping", "--timeout", "60").returncode == 0
        assert agency("room", "agents", "restart", "pm").returncode == 0
    assert got == []
    assert json.loads(agency("status", "--json").stdout)["agency"]["pid"] == state["pid"]
    assert runs(place) == [run]
    assert agency("down").returncode == 0
    with somebody_binds(*state["ports"].values()) as got:
        time.sleep(0.2)
    assert sorted(set(got)) == sorted(state["ports"].values()), "the attack works on free ports"


def test_a_control_plane_that_does_not_come_up_is_explained_and_mends_itself(
    agency, place, down
) -> None:
    state = up(agency)
    run = runs(place)[0]
    rows = audit_rows(run)
    assert agency("down", "--keep").returncode == 0
    database = run / "control" / "control.db"
    away = database.rename(database.with_suffix(".away"))
    database.mkdir()
    failed = agency("up")
    assert failed.returncode == 1
    assert "control ended with exit status" in failed.stderr
    assert "the end of the log:" in failed.stderr
    assert "database" in failed.stderr.partition("the end of the log:")[2]
    told = agency("status")
    assert told.returncode == 1
    assert "control ended with exit status" in told.stdout
    assert runs(place) == [run]
    assert find(run, "synapse.app.homeserver"), "the homeserver is kept"
    database.rmdir()
    away.rename(database)
    until(lambda: agency("status").returncode == 0)
    assert agency("room", "ping").returncode == 0
    assert audit_rows(run) > rows
    assert (
        state["homeserver"] == json.loads(agency("status", "--json").stdout)["agency"]["homeserver"]
    )


def test_killed_in_an_encrypted_room_and_its_supervisor_too_it_keeps_the_data(
    agency, place, down
) -> None:
    import requests

    state = up(agency)
    run = runs(place)[0]
    login = json.loads(Path(state["login_file"]).read_text())
    as_token = next(run.glob("credentials/*/matrix-as-token")).read_text()
    path = f"/_matrix/client/v3/rooms/{login['control_room']}/state/m.room.encryption"
    done = requests.put(
        state["homeserver"] + path,
        json={"algorithm": "m.megolm.v1.aes-sha2"},
        headers={"Authorization": f"Bearer {as_token}"},
        timeout=30,
    )
    assert done.status_code == 200, done.text
    os.kill(find(run, "control", "run"), signal.SIGKILL)
    until(lambda: "control room is encrypted" in agency("status").stdout)
    again = agency("up")
    assert again.returncode == 1
    assert "control room is encrypted" in again.stdout, (
        "the reason, from /ready with the token of the run"
    )
    rows = audit_rows(run)

    os.kill(state["pid"], signal.SIGKILL)
    until(lambda: not processes_with_marker(run.name))
    told = agency("status")
    assert told.returncode == 1
    assert str(run) in told.stdout.replace("\n", "")
    assert "agency up" in told.stdout
    assert audit_rows(run) >= rows
    removed = agency("down")
    assert removed.returncode == 0
    assert f"removed       {run}" in removed.stdout
    assert runs(place) == []
    assert agency("down").stdout.strip() == "nothing was running"


def test_what_was_kept_goes_on(agency, place, down) -> None:
    first = up(agency)
    run = runs(place)[0]
    assert agency("room", "agents", "start", "pm").returncode == 0
    room = json.loads(Path(first["login_file"]).read_text())["control_room"]
    kept = agency("down", "--keep")
    assert kept.returncode == 0
    assert f"kept          {run}" in kept.stdout
    assert processes_with_marker(run.name) == ()
    assert not Path(first["login_file"]).exists()
    rows = audit_rows(run)
    second = up(agency)
    assert runs(place) == [run]
    assert json.loads(Path(second["login_file"]).read_text())["control_room"] == room
    assert second["homeserver"] == first["homeserver"]
    assert agency("room", "ping").returncode == 0
    assert audit_rows(run) > rows
    verified = agency("audit", "verify", "--config", str(run / "control" / "control.json"))
    assert verified.returncode == 0, verified.stdout

    os.kill(second["pid"], signal.SIGKILL)  # `up` goes on after that, too
    third = up(agency)
    assert json.loads(Path(third["login_file"]).read_text())["control_room"] == room
    assert runs(place) == [run]


def test_two_at_once_make_one(agency, popen, place, down) -> None:
    both = [popen("up", "--json") for _ in range(2)]
    told = [process.communicate(timeout=WAIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    pids = {json.loads(out)["agency"]["pid"] for out, _ in told}
    assert len(pids) == 1
    assert len(runs(place)) == 1
    assert agency("down").returncode == 0
    assert runs(place) == []
    until(lambda: ended(pids))


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_ends_one_that_starts(agency, popen, place, moment, down) -> None:
    starting = popen("up")
    until((place / "agency.lock").exists)
    if moment == "later":
        until(lambda: runs(place))
    ended = agency("down")
    assert ended.returncode == 0, ended.stderr
    starting.communicate(timeout=WAIT_S)
    assert runs(place) == []
    assert agency("status").returncode == 1
    assert "not running" in agency("status").stdout


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_ends_what_it_started(agency, popen, place, moment, down) -> None:
    starting = popen("up")
    until((place / "agency.lock").exists)
    if moment == "later":
        until(lambda: runs(place) and (runs(place)[0] / "state.json").exists())
    else:
        time.sleep(0.2)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=WAIT_S)
    assert starting.returncode == 130
    assert "not running" in agency("status").stdout
    for run in runs(place):
        assert processes_with_marker(run.name) == ()
    agency("down")
    time.sleep(1)
    assert agency("status").returncode == 1
    assert runs(place) == []


def test_ports_and_other_instances_that_cannot_be(agency, place) -> None:
    twice = agency("up", "--port", "homeserver=13579", "--port", "control=13579")
    assert twice.returncode == 2
    assert "port 13579 is given to homeserver and to control" in twice.stderr
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = agency("up", "--port", f"control={other.getsockname()[1]}")
    assert taken.returncode == 3
    assert "taken by another program" in taken.stderr
    kept = runs(place)[0]
    state = {"pid": 1}
    (kept / "state.json").write_text(json.dumps(state))
    agency("down")
    assert runs(place) == []


def test_commands_get_through_past_the_room(agency, place, down) -> None:
    """Also while the homeserver is away, and after the control plane was killed."""
    up(agency)
    (run,) = runs(place)
    socket_file = place / "command.sock"
    assert socket_file.readlink() == run / "control" / "command.sock"
    assert agency("command", "agents", "start", "pm").returncode == 0
    homeserver = find(run, "synapse.app.homeserver")
    os.kill(homeserver, signal.SIGSTOP)
    try:
        assert agency("room", "--help").returncode == 0
        assert agency("room", "ping", "--timeout", "2").returncode == 1, "positive control"
        stopped = agency("command", "agents", "stop", "pm", "--json")
        os.kill(find(run, "control", "run"), signal.SIGKILL)
        until(lambda: agency("command", "ping", "--timeout=60").returncode == 0)
        looked = agency("command", "agents status pm", "--timeout=60")
    finally:
        os.kill(homeserver, signal.SIGCONT)
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout)["outcome"] == "done"
    assert looked.returncode == 0, looked.stderr
    assert "pm: stopped" in looked.stdout
    assert agency("down", "--keep").returncode == 0
    assert not socket_file.is_symlink()
    assert agency("command", "ping").returncode == 3
