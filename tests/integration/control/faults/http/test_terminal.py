"""`agency do` and `agency tokens`, as people call them, by the socket and by HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forking
import killing
import pytest
from entering import socket_of
from http_api import ALICE, BOB, VERA, client_for, url_of

from agency.control.kept.minting import new_token

Did = tuple[int, dict[str, Any], str]


def argv_of(*words: str) -> list[str]:
    return [sys.executable, "-m", "agency", *words]


def run(*words: str, env: dict[str, str] | None = None) -> Did:
    """Run a command of the terminal; its status, its JSON and what else it says."""
    done = forking.run(*words, env={**os.environ, **(env or {})})
    said, error = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in error, error
    out = said or error
    return done.returncode, json.loads(out) if "--json" in words else {"text": out}, error


@pytest.fixture(scope="module")
def ways(shared: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The options of each way to the shared control plane."""
    file = tmp_path_factory.mktemp("token") / "alice"
    status, told, _ = run(
        "tokens", "create", "--json", f"--socket={socket_of(shared)}", f"--person={ALICE}",
        "--role=operator", f"--output={file}",
    )  # fmt: skip
    assert (status, told["token"]) == (0, None), told
    assert file.stat().st_mode & 0o777 == 0o600
    return {
        "socket": [f"--socket={socket_of(shared)}"],
        "http": [f"--url={url_of(shared)}", f"--token-file={file}"],
    }


@pytest.mark.parametrize("way", ["socket", "http"])
def test_the_same_command_by_both_ways(ways: dict[str, list[str]], way: str) -> None:
    def do(*words: str) -> Did:
        return run("do", *words, "--json", *ways[way])

    status, told, _ = do("agents", "status", "pm")
    assert (status, told["outcome"], told["said"]) == (0, "done", "!agency agents status pm")
    assert do("agents", "stop", "nobody")[0] == 1
    assert do("agents", "stop", "No Name")[0] == 2
    status, told, _ = do("ping", f"--id=same-{way}")
    assert do("ping", f"--id=same-{way}") == (status, told, "")
    status, other, _ = do("status", f"--id=same-{way}")
    assert (status, other["outcome"]) == (1, "refused")
    assert "stands for another command" in other["reply"]["text"]


@pytest.mark.parametrize("way", ["socket", "http"])
def test_what_waits_for_an_approval_says_so_and_no_wait_leaves_it(
    shared: Any, ways: dict[str, list[str]], way: str
) -> None:
    agent = {"socket": "pm", "http": "developer"}[way]
    status, told, said = run("do", "agents", "disable", agent, "--no-wait", *ways[way])
    assert status == 0, said
    assert "it goes on" in told["text"]
    assert "by the rule holds" in " ".join(said.split()), "it says what it waits for"
    waiting = client_for(shared, BOB, "approver").get("/approvals").json()["items"]
    (operation,) = [each["id"] for each in waiting if each["target"] == agent]
    following = subprocess.Popen(
        argv_of("do", "agents", "disable", agent, "--json", "--timeout=1", *ways[way]),
        stdout=subprocess.PIPE,
    )
    unfinished = json.loads(following.communicate(timeout=30)[0])
    assert (following.returncode, unfinished["outcome"]) == (1, "unfinished")
    assert unfinished["operation"].startswith("op-")
    bob = client_for(shared, BOB, "approver")
    assert (
        bob.give(["deny", operation, "not today"], f"no-{way}", wait_s=10).json()["state"] == "done"
    )
    bob.give(["deny", unfinished["operation"], "nor later"], f"nor-{way}", wait_s=10)
    assert bob.get("/approvals").json()["items"] == []


def test_the_log_is_exported_by_http_and_elsewhere_says_how(ways: dict[str, list[str]]) -> None:
    status, told, _ = run("do", "audit", "export", *ways["http"])
    rows = [json.loads(line) for line in told["text"].splitlines()]
    assert status == 0
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    status, told, _ = run("do", "audit", "export", "--json", *ways["socket"])
    assert status == 1
    assert "`agency audit export` does" in told["reply"]["text"]
    status, told, _ = run("do", "audit", "verify", "--json", *ways["socket"])
    assert status == 0
    head = told["reply"]["text"].rpartition(" ")[2]
    assert run("do", "audit", "verify", f"--head={head}", *ways["http"])[0] == 0
    number = head.partition(":")[0]
    wrong = run("do", "audit", "verify", f"--head={number}:{'0' * 64}", *ways["http"])
    assert wrong[0] == 1
    assert "BAD" in wrong[1]["text"]


def test_wrong_ways_are_told_apart(shared: Any, ways: dict[str, list[str]], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(new_token())
    token.chmod(0o600)
    url, file = f"--url={url_of(shared)}", f"--token-file={token}"
    assert run("do", "ping", "--json", url, file)[0] == 3, "a token that opens nothing"
    assert run("do", "ping", "--json", "--url=http://127.0.0.1:1", file)[0] == 3
    status, told, _ = run("do", "ping", "--json", "--url=http://agency.example", file)
    assert (status, told["error"]["message"]) == (2, "a token is not sent in the clear")
    assert run("do", "ping", "--json", url)[0] == 2
    assert run("do", "ping", "--json", "--socket=/nowhere/x.sock")[0] == 3
    token.chmod(0o644)
    assert "others can read" in run("do", "ping", "--json", url, file)[1]["error"]["message"]
    status, told, said = run("do", "agents", "strat", "pm")
    assert status == 2
    assert "Did you mean 'start'?" in said
    assert "Did you mean 'agents stop'?" in run("do", "stop", "pm")[2]
    assert run("do", "ping", "--json", *ways["http"])[0] == 0, "positive control"


def test_no_netrc_takes_the_place_of_the_token(
    shared: Any, ways: dict[str, list[str]], tmp_path: Path
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password wrong\n")
    netrc.chmod(0o600)
    env = {"HOME": str(tmp_path), "NETRC": str(netrc)}
    assert run("do", "ping", "--json", *ways["http"], env=env)[0] == 0


def test_tokens_are_shown_once_and_taken_back(shared: Any) -> None:
    way = f"--socket={socket_of(shared)}"
    status, told, _ = run("tokens", "create", "--json", way, f"--person={VERA}")
    assert status == 0
    assert told["token"].startswith("agt_")
    status, listed, _ = run("tokens", "list", "--json", way)
    assert told["token"] not in json.dumps(listed)
    row = next(line for line in listed["reply"]["block"].splitlines() if VERA in line)
    assert "live" in row
    assert run("tokens", "revoke", row.split()[0], "--json", way)[0] == 0
    assert run("tokens", "create", "--json", way, f"--person={VERA}", "--role=admin")[0] == 1
    status, line, _ = run("tokens", "create", "--json", "--say", "--role=viewer")
    assert status == 0
    assert line["text"].startswith("Say in the control room: !agency tokens create sha256:")


LATER = [
    pytest.param(moment, marks=pytest.mark.thorough)
    for moment in ("uncommitted", "accepted", "acted")
]


@pytest.mark.parametrize("moment", ["acting", *LATER])
def test_killed_while_a_client_follows_it_gets_the_end_and_nothing_runs_twice(
    served: Any, wait_for: Callable[..., Any], tmp_path: Path, moment: str
) -> None:
    client = client_for(served, ALICE)
    assert client.give("agents start pm", "begin", wait_s=20).json()["state"] == "done"
    served.stop()
    usual, served.program = served.program, (killing.__file__, moment)
    served.start()
    wait_for(
        lambda: ("system", "done") in [
            (row["actor"], row["outcome"]) for row in served.audit()
            if row["action"] == "agents start"
        ],
        "agent that runs again",
    )  # fmt: skip
    token = tmp_path / "token"
    token.write_text(client.token)
    token.chmod(0o600)
    argv = argv_of(
        "do", "agents", "stop", "pm", "--json", "--id=kill",
        f"--url={url_of(served)}", f"--token-file={token}",
    )  # fmt: skip
    waiting = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert served.process.wait(20) == -signal.SIGKILL
    served.program = usual
    served.start()
    told = json.loads(waiting.communicate(timeout=40)[0])
    assert waiting.returncode == 1, told
    assert told["reply"]["text"].startswith("The control plane ended while this command ran")
    assert told["reply"]["text"].endswith("Seen now: pm is stopped.")
    again = client.give("agents stop pm", "kill")
    assert (again.status_code, again.json()["id"]) == (200, told["operation"])
    assert list(client.events(told["operation"]))[-1][0] == "end"
    mine = [row["outcome"] for row in served.audit() if row["actor"] == ALICE
            and row["action"] == "agents stop"]  # fmt: skip
    assert mine == ["accepted", "interrupted"]
    assert served.verify() == 0


def test_a_report_missed_while_the_control_plane_was_away_comes_by_last_event_id(
    served: Any,
) -> None:
    alice, bob = client_for(served, ALICE), client_for(served, BOB, "approver")
    made = alice.give("agents disable pm", "hold", wait_s=1).json()
    following = alice.events(made["id"])
    kind, last, told = next(following)
    assert (kind, told["number"]) == ("report", 1)
    following.close()
    served.stop(signal.SIGKILL)
    served.start()
    resumed = alice.events(made["id"], last)
    kind, last, told = next(resumed)
    assert (kind, told["state"]) == ("state", "waiting"), "the report does not come again"
    assert [each["number"] for each in told["reports"]] == [1]
    assert bob.give(["approve", made["id"]], "yes", wait_s=10).json()["state"] == "done"
    begun = time.monotonic()
    *_, (kind, _, end) = resumed
    assert (kind, end["state"]) == ("end", "done")
    assert time.monotonic() - begun < 10
