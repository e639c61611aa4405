"""Agents in containers of a real engine, commanded in a real room: gated, killed, mended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agent_containers import AgentsEngine
from first_agent import VALUE, WALK, make_walk
from vault_places import leaks

pytestmark = pytest.mark.docker

TOKENS: dict[str, str] = {}  # of the module's homeserver


@pytest.fixture
def people(
    homeserver: Any, control: Any, containers: AgentsEngine, room_class: Any
) -> Iterator[dict[str, Any]]:
    """Two operators of an agency whose pm is in a container, and its developer a process."""
    names = ("alice", "bob")
    control.config["docker"] = containers.settings(memory_mib=128).model_dump()
    for agent in control.config["agents"]:
        agent["runtime"] = "docker" if agent["name"] == "pm" else "process"
    rule = {"name": "stops", "commands": ["agents stop"], "quorum": 1}
    control.config["approvals"] = {"rules": [rule]}
    control.config["operators"] = [f"@{name}:agency.example" for name in names]
    control.start()
    room_id = control.ready().json()["room"]["id"]
    path = f"/_matrix/client/v3/join/{room_id}"
    rooms = {}
    for name in names:
        if name not in TOKENS:
            TOKENS[name] = homeserver.create_user(name)
        assert homeserver.request("POST", path, TOKENS[name], {}).status_code == 200
        rooms[name] = room_class(homeserver, room_id, TOKENS[name])
    yield rooms
    containers.sweep()


def test_an_agent_in_a_container_lives_dies_and_comes_back(
    people: Any, control: Any, containers: AgentsEngine, wait_for: Callable[..., Any]
) -> None:
    def ask(text: str, by: str = "alice") -> str:
        return str(people[by].ask(text)["body"])

    assert "pm runs" in ask("!agency agents start pm --project=site")
    (handle,) = containers.running()
    assert "developer runs" in ask("!agency agents start developer")
    listed = ask("!agency agents list")
    assert "2 of 2 agents run." in listed
    assert handle in listed
    assert "docker" in ask("!agency agents show pm")
    assert f"container {handle}" in ask("!agency agents start pm --project=site")

    # kill -9 of the control plane: the container runs on, and is found again.
    control.stop(signal.SIGKILL)
    assert containers.running() == (handle,)
    control.start()
    assert handle in ask("!agency agents list")
    assert "site" in ask("!agency agents status pm")
    assert containers.running() == (handle,)

    # A stop needs another person's approval: nothing ends before it.
    prompt = ask("!agency agents stop pm")
    assert "pm is to run, with the project site now" in prompt
    operation = prompt.split()[1][:9]
    assert "who asked for it" in ask(f"approve {operation}")
    assert containers.running() == (handle,)
    ask(f"approve {operation}", by="bob")
    wait_for(lambda: not containers.running(), "stopped container")
    assert "1 of 2 agents run." in ask("!agency agents list")
    assert "pm runs" in ask("!agency agents start pm --project=site")
    (handle,) = containers.running()

    # kill -9 of the agent: seen with its reason; the next start makes another container.
    containers.cli("kill", handle)
    wait_for(lambda: "SIGKILL" in ask("!agency agents list"), "failed agent")
    assert "pm runs" in ask("!agency agents start pm")
    (second,) = containers.running()
    assert second != handle
    rows = [row for row in control.audit() if row["action"] == "agents start"]
    assert [row["outcome"] for row in rows if row["target"] == "pm"].count("done") == 4
    assert handle in str(rows)
    assert second in str(rows)
    assert control.verify() == 0


def test_the_page_of_a_first_agent_is_followed_with_a_container(
    homeserver: Any, control: Any, containers: AgentsEngine, wait_for: Callable[..., Any]
) -> None:
    """Made, given a secret, changed by an approval, killed, mended and deleted: by chat alone."""
    control.config |= {
        "runtime": "docker",
        "docker": containers.settings(memory_mib=128).model_dump(),
    }
    ended: list[str] = []

    def kill(_agent: str) -> None:
        (handle,) = containers.running()
        ended.append(handle)
        shown = containers.cli("inspect", handle)
        assert "/run/agency-redeem" in shown, "the way by which it got the secret"
        assert VALUE not in shown
        containers.cli("kill", handle)

    walk = make_walk(homeserver, control, wait_for, kill, TOKENS)
    try:
        walk.follow(WALK)
        assert containers.cli("ps", "-aq") == ""
        assert containers.cli("volume", "ls", "-q") == "", "nothing is left of it"
        assert leaks(control, VALUE) == []
    finally:
        containers.sweep()
    rows = control.audit()
    assert ended[0] in str([row for row in rows if row["action"] == "agents watch"])
    by_action = {(row["action"], row["outcome"]) for row in rows if row["target"] == "helper"}
    assert by_action >= {
        (action, "done")
        for action in (
            *("agents create", "agents start", "gosuto set", "gosuto push", "secrets deliver"),
            *("agents respawn", "agents delete"),
        )
    }
    died = next(row["trace"] for row in rows if row["action"] == "agents watch")
    assert [row["action"] for row in rows if row["trace"] == died] == [
        *("agents watch", "agents respawn", "agents respawn"),
        *("gosuto push", "gosuto push"),
    ]
    assert control.verify() == 0


def test_without_its_engine_the_others_are_still_seen(
    people: Any, control: Any, containers: AgentsEngine
) -> None:
    def ask(text: str) -> str:
        return str(people["alice"].ask(text)["body"])

    assert "pm runs" in ask("!agency agents start pm")
    containers.engine.stop()
    try:
        listed = ask("!agency agents list")
        assert "0 of 2 agents run." in listed
        assert "unknown (" in listed
        assert "stopped" in listed
        assert "1 stopped, 1 unknown" in ask("!agency status")
        for command in ("agents status pm", "agents start pm", "agents logs pm"):
            answer = ask(f"!agency {command}")
            assert "systemctl start docker" in answer, answer
    finally:
        containers.engine.start()
    assert "pm runs" in ask("!agency agents start pm")
    assert len(containers.running()) == 1
