"""The NixOS images of guests evaluate; nothing in them waits for a network or lets anyone in."""

from __future__ import annotations

import re
from typing import Any

import pytest

GUESTS = ("throwaway", "throwaway-container")
DERIVATION = re.compile(r"/nix/store/[a-z0-9]{32}-(nixos-disk-image|tarball)\.drv\Z")


@pytest.mark.parametrize("name", GUESTS)
def test_the_image_and_its_system_evaluate(report: dict[str, Any], name: str) -> None:
    guest = report["guests"][name]
    assert DERIVATION.match(guest["image"])
    assert guest["drvPath"].endswith(".drv")
    assert (guest["failing"], guest["warnings"]) == ([], [])


@pytest.mark.parametrize("name", GUESTS)
def test_it_can_switch_to_its_source_without_a_network(report: dict[str, Any], name: str) -> None:
    guest = report["guests"][name]
    assert guest["substituters"] == []
    assert "nixos-rebuild-ng" in guest["programs"]


@pytest.mark.parametrize("name", GUESTS)
def test_whoever_spins_it_up_finds_the_programs_to_call(report: dict[str, Any], name: str) -> None:
    programs = report["guests"][name]["programs"]
    assert {"agency", "python3", "nodejs-slim"} <= {one.removesuffix("-env") for one in programs}


@pytest.mark.parametrize("name", GUESTS)
def test_nobody_logs_in_without_a_password_or_from_outside(
    report: dict[str, Any], name: str
) -> None:
    assert report["guests"][name]["rootPassword"] == "!"
    assert report["guests"][name]["sshd"] is False


def test_each_kind_boots_its_own_way(report: dict[str, Any]) -> None:
    machine, container = (report["guests"][name] for name in GUESTS)
    assert machine["agent"] is True
    assert set(machine["fileSystems"]) == {"/", "/boot"}
    assert (container["agent"], container["fileSystems"]) == (False, [])


def test_both_kinds_run_the_same_units(report: dict[str, Any]) -> None:
    machine, container = (report["guests"][name] for name in GUESTS)
    assert machine["units"] == container["units"]
    assert "agency-control" in machine["units"]
