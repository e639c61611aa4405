"""Both hosts evaluate, whole, twice the same, and follow their instance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency import naming

ROOT = Path(__file__).resolve().parents[2]
STORE_DERIVATION = re.compile(r"/nix/store/[a-z0-9]{32}-nixos-system-[a-z]+-.*\.drv\Z")


@pytest.mark.parametrize("host", ["agency", "throwaway"])
def test_a_host_with_every_feature_evaluates_and_says_nothing(
    report: dict[str, Any], host: str
) -> None:
    assert STORE_DERIVATION.match(report[host]["drvPath"])
    assert report[host]["failing"] == []
    assert report[host]["warnings"] == []


@pytest.mark.parametrize("host", ["agency", "throwaway"])
def test_a_fresh_clone_evaluates_with_its_example_instance(
    report: dict[str, Any], host: str
) -> None:
    assert STORE_DERIVATION.match(report["example"][host])


def test_the_virtual_machine_tests_instantiate(report: dict[str, Any]) -> None:
    assert set(report["checks"]) >= {"full", "throwaway"}
    assert all(path.endswith(".drv") for path in report["checks"].values())


def test_no_secret_reaches_the_configuration(
    report: dict[str, Any], canary: Callable[[str], str]
) -> None:
    """Units and /etc name secrets; they hold none, not even encrypted."""
    names = report["agency"]["secrets"]
    assert {"matrix-as-token", "wildcard-certificate-key", "agent-pm-ssh-key"} <= set(names)
    texts = "\n".join(report["agency"]["texts"])
    assert "matrix-as-token" in texts
    assert [name for name in names if canary(name) in texts] == []


def test_the_same_instance_gives_the_same_system(report: dict[str, Any]) -> None:
    assert report["again"] == report["agency"]["drvPath"]


def test_another_instance_changes_what_it_should(report: dict[str, Any]) -> None:
    other = report["other"]
    assert other["failing"] == []
    assert other["drvPath"] != report["agency"]["drvPath"]
    assert json.loads(other["control"])["domain"] == "other.example.net"
    assert json.loads(other["control"])["operators"] == ["@bob:other.example.net"]
    assert "agency.example.org" not in other["control"]
    assert all(host.endswith("other.example.net") for host in other["sites"].values())


def test_an_instance_says_what_only_it_knows_of_its_machine(report: dict[str, Any]) -> None:
    other = report["other"]
    assert (other["rootKeys"], other["sshd"]) == (["ssh-ed25519 AAAA bob"], True)
    assert report["agency"]["rootKeys"] == ["ssh-ed25519 AAAA alice"]


def test_agents_keep_their_numbers_whoever_else_there_is(report: dict[str, Any]) -> None:
    assert report["other"]["agents"]["pm"] == report["agency"]["agents"]["pm"]
    assert report["agency"]["agents"]["pm"] == {
        "uid": naming.agent_uid("pm"),
        "port": naming.agent_port("pm"),
        "user": naming.agent_user("pm"),
    }


def test_the_longest_name_of_an_agent_is_taken(report: dict[str, Any]) -> None:
    """The positive control of the assertion that refuses one character more."""
    assert "a" * 25 in report["other"]["agents"]
    assert report["other"]["failing"] == []


def test_agents_are_users_without_password_or_privilege(report: dict[str, Any]) -> None:
    users = report["agency"]["users"]
    for name in report["agency"]["agents"]:
        user = users[naming.agent_user(name)]
        assert not user["hasPassword"]
        assert user["extraGroups"] == []
        assert (user["group"], user["homeMode"]) == (naming.AGENTS_GROUP, "0700")
    assert users["agency-control"]["uid"] == naming.CONTROL_UID


def test_the_base_names_no_instance() -> None:
    sources = [*(ROOT / "modules").rglob("*"), *(ROOT / "hosts").rglob("*.nix")]
    sources += [ROOT / "flake.nix", ROOT / "default.nix"]
    example = json.loads((ROOT / "instance/generated/instance.json").read_text())
    private = [example["domain"], *example["operators"]]
    found = [
        (path.relative_to(ROOT), word)
        for path in sources
        if path.is_file() and path.suffix != ".pyc"
        for word in private
        if re.search(rf"{re.escape(word)}(?![.\w])", path.read_text())
    ]
    assert found == []
