"""Whoever takes an agent's name takes one of 25 characters, and refuses one of 26."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agency.agent.process import load_config
from agency.control.commands import parse
from agency.control.runtimes.handover import checked_name
from agency.control.runtimes.systemd import SystemdRuntime
from agency.errors import AgencyError
from agency.instance.load import load_instance

LONGEST, TOO_LONG = "a" * 25, "a" * 26
RULE = "1 to 25"


def _said(name: str, _place: Path) -> str | None:
    return parse(f"!agency agents start {name}").text("agent")


def _handed_over(name: str, _place: Path) -> str:
    return checked_name(name)


def _started(name: str, place: Path) -> str:
    config = {"name": name, "role": "pm", "host": "127.0.0.1", "port": 20001}
    file = place / "agent.json"
    file.write_text(json.dumps(config))
    return load_config(file).name


def _listed(name: str, place: Path) -> str:
    (place / "instance.yaml").write_text(
        "version: 1\nname: test\ndomain: agency.example\noperators: ['@alice:agency.example']\n"
        f"agents: {{{name}: {{role: pm}}}}\nsecrets: {{provider: ephemeral}}\n"
    )
    (agent,) = load_instance(place).instance.agents
    return agent


@pytest.mark.parametrize("take", [_said, _handed_over, _started, _listed])
def test_the_longest_name_and_one_more(take: Callable[[str, Path], str], tmp_path: Path) -> None:
    assert take(LONGEST, tmp_path) == LONGEST
    with pytest.raises(AgencyError) as caught:
        take(TOO_LONG, tmp_path)
    assert RULE in f"{caught.value.message} {caught.value.hint}"


async def test_no_agent_of_a_longer_name_is_found_again(tmp_path: Path) -> None:
    for name in (LONGEST, TOO_LONG):
        (tmp_path / f"{name}.json").write_text("{}")
        (tmp_path / f"{name}.token").write_text(f"token of {len(name)}")
    runtime = SystemdRuntime(tmp_path, port_of={}.__getitem__)
    try:
        assert [one.reveal() for one in runtime.secrets()] == ["token of 25"]
    finally:
        await runtime.close()
