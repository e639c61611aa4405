"""Secrets delivered by a real control plane to real agents, through all that gets between."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from entering import command, socket_of
from vault_places import CANARY, by_stdin, leaks
from vaulting import master_key

from agency.control.runtimes.process import token_file
from agency.protocols import RedemptionRefusedError, redeem
from agency.unix_sockets import short_path

REPLY_KEY = "org.agency.reply"


class Agency:
    """A control plane and its agents, asked at the command socket: no room is needed for it."""

    def __init__(self, control: Any, wait_for: Callable[..., Any]) -> None:
        self.control, self.wait_for = control, wait_for

    def start(self) -> None:
        self.control.launch()
        self.wait_for(self.control.accepts, "control plane", 30)
        self.wait_for(self._takes_commands, "command socket", 30)

    def _takes_commands(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking, short_path(socket_of(self.control)) as name:
            return asking.connect_ex(name) == 0  # a killed one leaves its file

    def do(self, *words: str) -> str:
        status, answer = command(socket_of(self.control), *words)
        assert status == 0, answer
        return str(answer["reply"]["text"]) + str(answer["reply"]["block"])

    def token(self, agent: str) -> str:
        return token_file(Path(self.control.config["state_dir"]), agent).read_text().strip()

    def report(self, agent: str) -> dict[str, Any]:
        """What an agent says of itself."""
        (port,) = [e["port"] for e in self.control.config["agents"] if e["name"] == agent]
        try:
            answer = requests.get(
                f"http://127.0.0.1:{port}/v1/status",
                headers={"Authorization": f"Bearer {self.token(agent)}"},
                timeout=5,
            )
        except (requests.ConnectionError, FileNotFoundError):
            return {"secrets": [], "pid": 0}
        return dict(answer.json())

    def held(self, agent: str = "pm") -> dict[str, int]:
        return {each["name"]: each["version"] for each in self.report(agent)["secrets"]}

    def until(self, wanted: dict[str, int], agent: str = "pm") -> None:
        self.wait_for(lambda: self.held(agent) == wanted, f"{wanted} at {agent}", 30)

    def has_in_memory(self, agent: str, text: str) -> bool:
        """Whether the process of an agent has a text anywhere in its memory."""
        pid = self.report(agent)["pid"]
        with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if found is None:
                    continue
                start, end = int(found[1], 16), int(found[2], 16)
                memory.seek(start)
                try:
                    if text.encode() in memory.read(end - start):
                        return True
                except OSError:
                    continue
        return False

    def redeem(self, agent: str, lease: str, token: str, agent_token: str) -> str:
        path = Path(self.control.config["state_dir"]) / "redeem" / agent / "redeem.sock"
        return asyncio.run(redeem(path, lease, token, agent_token)).get_secret_value()


@pytest.fixture
def agency(
    make_control: Callable[..., Any], tmp_path: Path, wait_for: Callable[..., Any]
) -> Agency:
    """An agency whose homeserver is away all the time: deliveries need no room."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("matrix-as-token", "matrix-hs-token", "vault-master-key"):
        (credentials / name).write_text(master_key())
    made = Agency(make_control(credentials), wait_for)
    made.control.config["limits"] = {"secret_check_s": 0.3}
    made.start()
    return made


def test_an_agent_gets_keeps_and_loses_its_secrets_by_itself(agency: Agency) -> None:
    control = agency.control
    by_stdin(control, "secrets", "set", "github")
    assert "gets it as soon as it runs" in agency.do("secrets", "bind", "github", "pm")
    agency.do("agents", "start", "pm")
    agency.do("agents", "start", "developer")
    agency.until({"github": 1})
    assert agency.has_in_memory("pm", CANARY)
    assert not agency.has_in_memory("developer", CANARY)
    by_stdin(control, "secrets", "rotate", "github", value=f"{CANARY}-second")
    agency.until({"github": 2})
    assert agency.has_in_memory("pm", f"{CANARY}-second")
    before = agency.report("pm")["pid"]
    agency.do("agents", "restart", "pm")
    agency.until({"github": 2})
    assert agency.report("pm")["pid"] != before
    assert "pm holds github (version 2)." in agency.do("secrets", "push", "pm")
    agency.do("secrets", "unbind", "github", "pm")
    agency.until({})
    assert "none is bound to it" in agency.do("secrets", "push", "pm")
    assert agency.held("developer") == {}
    redeemed = [row for row in control.audit() if row["action"] == "secrets redeem"]
    assert {(row["actor"], row["target"], row["outcome"]) for row in redeemed} == {
        ("agent:pm", "secret github", "done")
    }
    for agent in ("pm", "developer"):
        for part in ("environ", "cmdline"):
            seen = Path(f"/proc/{agency.report(agent)['pid']}/{part}").read_bytes()
            assert CANARY.encode() not in seen
    assert leaks(control, CANARY) == []
    assert control.verify() == 0


@pytest.mark.thorough
def test_a_lease_is_renewed_before_it_ends(agency: Agency) -> None:
    agency.control.stop()
    agency.control.config["limits"] |= {"secret_lease_s": 3.0}
    agency.start()
    by_stdin(agency.control, "secrets", "set", "github")
    agency.do("secrets", "bind", "github", "pm")
    agency.do("agents", "start", "pm")
    agency.until({"github": 1})
    ends: set[str] = set()
    until = time.monotonic() + 7
    while time.monotonic() < until:
        (held,) = agency.report("pm")["secrets"]
        ends.add(held["expires_at"])
        time.sleep(0.1)
    assert len(ends) >= 3


def test_killed_between_set_and_push_it_is_delivered_at_the_next_start(agency: Agency) -> None:
    control = agency.control
    agency.do("agents", "start", "pm")
    by_stdin(control, "secrets", "set", "github")
    agency.do("secrets", "bind", "github", "pm")
    control.stop(9)
    agency.start()
    agency.do("agents", "start", "pm")  # it ended with the control plane
    agency.until({"github": 1})
    by_stdin(control, "secrets", "rotate", "github", value=f"{CANARY}-2")
    control.stop(9)
    agency.start()
    agency.do("agents", "start", "pm")  # it ended with the control plane
    agency.until({"github": 2})
    assert agency.has_in_memory("pm", f"{CANARY}-2")
    assert leaks(control, CANARY) == []


def test_what_cannot_be_delivered_whole_leaves_the_old_set_and_is_said(agency: Agency) -> None:
    control = agency.control
    for name in ("github", "gitlab"):
        by_stdin(control, "secrets", "set", name)
        agency.do("secrets", "bind", name, "pm")
    agency.do("agents", "start", "pm")
    agency.until({"github": 1, "gitlab": 1})
    by_stdin(control, "secrets", "set", "third")
    with sqlite3.connect(control.database) as connection:
        connection.execute("UPDATE secrets SET ciphertext = 'AAAA' WHERE name = 'third'")
    agency.do("secrets", "bind", "third", "pm")
    status, answer = command(socket_of(control), "secrets", "push", "pm")
    assert (status, answer["outcome"]) == (1, "refused")
    assert "could not redeem third; it keeps those that it held" in answer["reply"]["text"]
    assert agency.held() == {"github": 1, "gitlab": 1}
    warnings = json.dumps(control.ready().json()["warnings"])
    assert "secrets-undelivered" in warnings
    assert "keeps those that it held" in warnings
    # Said once, however often it is tried.
    time.sleep(3)
    failed = [row for row in control.audit() if row["action"] == "secrets deliver"]
    assert [row["outcome"] for row in failed].count("failed") <= 2
    agency.do("secrets", "unbind", "third", "pm")
    agency.until({"github": 1, "gitlab": 1})
    agency.wait_for(
        lambda: "secrets-undelivered" not in json.dumps(control.ready().json()["warnings"]),
        "end of the warning",
    )


@pytest.mark.thorough
def test_the_socket_gives_nothing_to_who_is_not_the_agent(agency: Agency) -> None:
    control = agency.control
    by_stdin(control, "secrets", "set", "github")
    for agent in ("pm", "developer"):
        agency.do("secrets", "bind", "github", agent)
        agency.do("agents", "start", agent)
        agency.until({"github": 1}, agent)
    leases = dict(control.query("SELECT agent, id FROM secret_leases ORDER BY expires_ts"))
    pm, developer = agency.token("pm"), agency.token("developer")
    for at, lease, token, who in (
        ("pm", leases["pm"], "guessed-token-of-a-lease", pm),
        ("pm", leases["pm"], "guessed-token-of-a-lease", developer),
        ("developer", leases["pm"], "guessed-token-of-a-lease", developer),
        ("pm", "lease-that-was-never-made", "guessed-token-of-a-lease", pm),
        ("pm", leases["pm"], "guessed-token-of-a-lease", "x" * 43),
    ):
        with pytest.raises(RedemptionRefusedError):
            agency.redeem(at, lease, token, who)
    refused = [
        row
        for row in control.audit()
        if (row["action"], row["outcome"]) == ("secrets redeem", "refused")
    ]
    assert {row["actor"] for row in refused} == {"agent:pm", "agent:developer"}
    assert len(refused) >= 4
    assert pm not in json.dumps(refused)
