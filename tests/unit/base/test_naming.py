"""Names and numbers: stable, in range, and right for the systems that read them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import naming

ROOT = Path(__file__).resolve().parents[3]
NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,23}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("name", ["a", "pm", "developer-2", "a" * 30, "a--b"])
def test_good_names(name: str) -> None:
    assert naming.is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "1a", "A", "a_b", "a.b", "a" * 31, "a\n", "pm ", "../x", "ä", "p\u200bm"],
)
def test_bad_names(name: str) -> None:
    assert not naming.is_name(name)


def test_an_agents_name_leaves_room_for_its_user() -> None:
    assert naming.is_agent_name("a" * naming.MAX_AGENT_NAME)
    assert not naming.is_agent_name("a" * (naming.MAX_AGENT_NAME + 1))
    assert not naming.is_agent_name("A")


def test_what_nixos_reads_is_current() -> None:
    argv = [sys.executable, str(ROOT / "tools/facts.py"), "--check"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_what_nixos_reads_is_found_stale(tmp_path: Path) -> None:
    copy = tmp_path / "tools/facts.py"
    copy.parent.mkdir()
    copy.write_bytes((ROOT / "tools/facts.py").read_bytes())
    modules = tmp_path / "modules"
    modules.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(copy), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)

    assert run().returncode == 0
    assert run("--check").returncode == 0
    naming_json = modules / "naming.json"
    naming_json.write_text(naming_json.read_text().replace("4000", "4001"))
    stale = run("--check")
    assert stale.returncode == 1
    assert "modules/naming.json" in stale.stderr
    assert "unwritten.json" not in stale.stderr


def test_numbers_are_those_of_every_earlier_release() -> None:
    """Changing the hash would renumber every deployed agent."""
    assert (naming.agent_uid("pm"), naming.agent_port("pm")) == (12894, 24875)
    assert (naming.agent_uid("developer"), naming.agent_port("developer")) == (27588, 25194)


@given(NAMES)
def test_numbers_stay_in_their_ranges(name: str) -> None:
    assert naming.is_agent_name(name)
    assert naming.agent_uid(name) in naming.AGENT_UIDS
    assert naming.agent_port(name) in naming.AGENT_PORTS


@given(NAMES)
def test_an_agents_user_is_a_linux_user_name(name: str) -> None:
    user = naming.agent_user(name)
    assert re.fullmatch(r"[a-z_][a-z0-9_-]*", user)
    assert len(user) <= 31
    assert naming.agent_unit(name).endswith(".service")


def test_ranges_keep_clear_of_each_other() -> None:
    assert not set(naming.SERVICE_PORTS.values()) & set(naming.AGENT_PORTS)
    assert len(set(naming.SERVICE_PORTS.values())) == len(naming.SERVICE_PORTS)
    assert naming.AGENTS_GID not in naming.AGENT_UIDS
    assert naming.AGENT_PORTS.stop <= 32768  # where Linux begins to hand out ephemeral ports


def test_matrix_names() -> None:
    assert naming.matrix_id("agency", "a.example") == "@agency:a.example"
    assert naming.control_room_alias("a.example") == "#control:a.example"
    assert naming.public_host("gitlab", "a.example") == "gitlab.a.example"
