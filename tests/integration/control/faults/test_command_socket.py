"""Commands past the room: by the real `agency command`, to a real control plane."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import killing
import pytest
from entering import argv_of, command, socket_of

ACTOR = "cli:root" if os.geteuid() == 0 else f"cli:{Path.home().owner()}"


def rows(control: Any) -> list[tuple[str, str, str]]:
    return [(row["actor"], row["action"], row["outcome"]) for row in control.audit()][1:]


def run(control: Any, *words: str, **options: object) -> tuple[int, dict[str, Any]]:
    return command(socket_of(control), *words, **options)


def talk(path: Path, data: bytes, seconds: float = 10) -> dict[str, Any] | None:
    """Send bytes as they are; return the last line of the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        client.connect(str(path))
        client.sendall(data)
        got = b""
        while more := client.recv(65536):
            got += more
    return json.loads(got.splitlines()[-1])["said"] if got else None


def test_an_agent_is_started_asked_and_stopped_without_the_homeserver(
    control: Any, stub: Any
) -> None:
    control.start()
    stub.fail("", times=10_000)  # it answers nobody any more
    status, started = run(control, "agents", "start", "pm", "--project", "new app", id="one")
    assert (status, started["outcome"]) == (0, "done"), started
    assert started["said"] == '!agency agents start pm --project="new app"'
    assert "pm runs, with the project new app" in started["reply"]["text"]
    status, looked = run(control, "agents status pm")
    assert status == 0
    assert "pm: running" in looked["reply"]["text"] + looked["reply"]["block"]
    assert run(control, "agents", "stop", "pm")[0] == 0
    assert rows(control) == [
        (ACTOR, "agents start", "accepted"),
        (ACTOR, "agents start", "done"),
        (ACTOR, "agents status", "done"),
        (ACTOR, "agents stop", "accepted"),
        (ACTOR, "agents stop", "done"),
    ]
    details = [
        json.loads(row["detail"]) for row in control.audit() if row["action"] == "agents start"
    ]
    assert [(each["cause"], each["request"]) for each in details] == [("cli", "one")] * 2
    assert control.query("SELECT count(*) FROM outbox") == [(0,)], "no room hears of it"
    assert control.verify() == 0


def test_it_works_before_there_is_a_room(
    control: Any, stub: Any, make_event: Any, wait_for: Any
) -> None:
    """Messages wait for the room all the same, and are answered in it."""
    stub.fail("directory", times=10_000, status=503)
    control.launch()
    wait_for(control.accepts, "server")
    event = make_event("!agency ping")
    assert control.deliver([event]).status_code == 200
    assert run(control, "agents", "start", "pm")[0] == 0
    assert run(control, "agents", "stop", "pm")[0] == 0
    assert control.query("SELECT state FROM inbox") == [("pending",)]
    stub.mend()
    wait_for(lambda: stub.replies(event["event_id"]), "reply")
    assert control.stop() == 0


@pytest.mark.parametrize(
    "moment",
    [
        "acting",
        "uncommitted",
        pytest.param("accepted", marks=pytest.mark.thorough),
        pytest.param("acted", marks=pytest.mark.thorough),
    ],
)
def test_killed_in_the_middle_the_same_id_gives_the_answer(
    control: Any, stub: Any, wait_for: Any, moment: str
) -> None:
    control.start()
    assert run(control, "agents", "start", "pm")[0] == 0
    control.stop()
    usual, control.program = control.program, (killing.__file__, moment)
    control.start()
    again = ("system", "agents start", "done")
    wait_for(lambda: again in rows(control), "agent that runs again")
    before = len(rows(control))
    waiting = subprocess.Popen(
        argv_of(socket_of(control), "agents", "stop", "pm", id="kill"), stdout=subprocess.PIPE
    )
    assert control.process.wait(20) == -signal.SIGKILL
    control.program = usual
    control.start()
    told = json.loads(waiting.communicate(timeout=40)[0])
    assert waiting.returncode == 1, told
    assert told["reply"]["text"].startswith("The control plane ended while this command ran")
    assert told["reply"]["text"].endswith("Seen now: pm is stopped.")
    status, again_told = run(control, "agents", "stop", "pm", id="kill")
    assert status == 1
    assert again_told == told, "asked again, it is the same answer"
    mine = [(action, outcome) for actor, action, outcome in rows(control)[before:]
            if actor == ACTOR]  # fmt: skip
    assert mine == [("agents stop", "accepted"), ("agents stop", "interrupted")]
    assert control.verify() == 0


def test_the_same_id_runs_once_and_is_no_other_commands(control: Any, stub: Any) -> None:
    control.start()
    first = run(control, "agents", "start", "pm", id="same")
    assert first[0] == 0
    assert run(control, "agents", "start", "pm", id="same") == first
    status, other = run(control, "agents", "stop", "pm", id="same")
    assert (status, other["outcome"]) == (1, "refused")
    assert "stands for another command already" in other["reply"]["text"]
    assert rows(control) == [
        (ACTOR, "agents start", "accepted"),
        (ACTOR, "agents start", "done"),
        (ACTOR, "command", "refused"),
    ]
    assert run(control, "agents", "stop", "pm", id="another")[0] == 0


def test_what_is_no_command_is_on_record(control: Any, stub: Any) -> None:
    control.start()
    status, told = run(control, "agents", "halt", "pm")
    assert (status, told["outcome"]) == (2, "not-understood")
    assert 'Unknown command "halt"' in told["reply"]["text"]
    assert "^^^^" in told["reply"]["block"]
    assert run(control, "agents", "stop", "nobody")[0] == 1
    assert run(control, "ping")[0] == 0
    assert rows(control)[0] == (ACTOR, "command", "refused")
    assert rows(control)[-1] == (ACTOR, "ping", "done")


def test_no_control_plane_is_told_apart(control: Any, stub: Any) -> None:
    control.start()
    path = socket_of(control)
    assert run(control, "ping")[0] == 0, "positive control"
    control.stop()
    assert not path.exists(), "it is removed at the end"
    assert run(control, "ping")[0] == 3
    control.start()
    control.stop(signal.SIGKILL)
    assert path.exists()
    status, told = run(control, "ping")
    assert (status, told["error"]["message"]) == (3, "no control plane runs here")
    control.start()
    assert run(control, "ping")[0] == 0, "what a killed one left is no obstacle"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
def test_another_user_cannot_connect_and_would_be_refused(control: Any, stub: Any) -> None:
    """The socket's mode keeps them out; where it does not, the kernel's word about them does."""
    control.start()
    path = socket_of(control)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def connect(mode: int) -> bytes:
        path.chmod(mode)
        code = (
            "import socket, sys; c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]);"
            "print(c.recv(9999).decode())"
        )
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", code, str(path)],
            user=65534, group=65534, extra_groups=[], capture_output=True, check=False, cwd="/",
        )  # fmt: skip
        return done.stdout + done.stderr

    opened = [each for each in path.parents if not each.stat().st_mode & 0o001]
    try:
        for each in opened:
            each.chmod(each.stat().st_mode | 0o011)
        assert b"PermissionError" in connect(0o600)
        refused = json.loads(connect(0o666))["said"]
    finally:
        for each in opened:
            each.chmod(each.stat().st_mode & ~0o011)
    assert refused["outcome"] == "denied"
    assert "65534" in refused["text"]
    assert run(control, "ping")[0] == 0, "positive control"
    assert [actor for actor, *_ in rows(control)] == ["cli:root"]


def test_requests_have_bounds(control: Any, stub: Any) -> None:
    control.start()
    path = socket_of(control)
    request = {"version": 1, "id": "x", "command": "!agency ping", "sent_ts": 1, "wait_s": 5}

    def say(**changes: object) -> dict[str, Any] | None:
        return talk(path, json.dumps({**request, **changes}).encode() + b"\n")

    assert say(sent_ts=int(time.time() * 1000))["outcome"] == "done", "positive control"
    assert say(id="old")["outcome"] == "refused", "one of 1970"
    assert say(version=2)["outcome"] == "unsupported"
    assert say(id="../x")["outcome"] == "not-understood"
    assert say(wait_s=1e9)["outcome"] == "not-understood"
    assert say(sender="@alice:agency.example")["outcome"] == "not-understood"
    assert talk(path, b"x" * 70_000 + b"\n")["outcome"] == "not-understood"
    assert talk(path, b"[" * 60_000 + b"\n")["outcome"] == "not-understood"
    before = time.monotonic()
    assert talk(path, b"{", 20)["outcome"] == "not-understood", "and no line in time"
    assert time.monotonic() - before < 10
    with ExitStack() as many:
        for _ in range(16):
            client = many.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
        assert talk(path, b"")["outcome"] == "busy"
    assert run(control, "ping")[0] == 0, "and it goes on"


def test_the_answer_is_waited_for_no_longer_than_asked(control: Any, stub: Any) -> None:
    control.start()
    assert run(control, "agents", "start", "pm")[0] == 0
    pid = control.pid_of("pm")
    os.kill(pid, signal.SIGSTOP)  # its stop takes until it is killed
    status, told = run(control, "agents", "stop", "pm", id="slow", timeout=0.5)
    assert (status, told["outcome"]) == (1, "unfinished")
    status, told = run(control, "agents", "stop", "pm", id="slow")
    assert (status, told["outcome"]) == (0, "done"), told
    assert rows(control)[2:] == [(ACTOR, "agents stop", "accepted"), (ACTOR, "agents stop", "done")]


def test_a_long_path_is_no_obstacle(make_control: Any, stub: Any, credentials: Path) -> None:
    """unix(7) takes 107 bytes."""
    made = make_control(credentials, homeserver_url=stub.url)
    deep = made.place / ("d" * 100) / "state"
    made.config["state_dir"] = str(deep)
    made.start()
    assert len(str(socket_of(made))) > 107
    assert run(made, "ping")[0] == 0
    made.stop()
    shutil.rmtree(deep.parent)
