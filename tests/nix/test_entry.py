"""From a blank disk to a machine that its operator gets into, and cannot lock themselves out of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agency.instance.making import flake

ROOT = Path(__file__).resolve().parents[2]
VIRTIO = {"virtio_blk", "virtio_pci", "virtio_scsi"}


@pytest.fixture
def entry(report: dict[str, Any]) -> dict[str, Any]:
    return report["entry"]


@pytest.fixture
def with_disko(entry: dict[str, Any]) -> dict[str, Any]:
    if not entry["hasDisko"]:
        locked = json.loads((ROOT / "flake.lock").read_text())["nodes"]["disko"]["locked"]
        pytest.skip(f"<disko> does not resolve; it is nix-community/disko at {locked['rev']}")
    return entry


def test_the_flake_offers_no_host_of_the_example(entry: dict[str, Any]) -> None:
    assert entry["offered"]["example"] == ["throwaway", "throwaway-container"]
    assert "agency" in entry["offered"]["own"]


def test_the_instance_s_own_flake_gives_its_machine(entry: dict[str, Any]) -> None:
    """As `agency init` writes it, after the one edit that the guide asks for."""
    assert entry["flake"]["hosts"] == ["agency"]
    assert entry["flake"]["domain"] == "agency.example.org"


def test_that_machine_builds_without_a_word(with_disko: dict[str, Any]) -> None:
    machine = with_disko["flake"]["agency"]
    assert (machine["failing"], machine["warnings"]) == ([], [])
    assert machine["toplevel"].endswith(".drv")


def test_the_flake_takes_nothing_of_the_example() -> None:
    """Nothing overrides an input at a switch: what could be forgotten is not there."""
    (text,) = [one for one in _templates() if "nixosConfigurations" in one]
    assert 'inputs.instance.follows = "";' in text
    assert "agency.lib.machine self" in text


def _templates() -> list[str]:
    place = Path(flake.__file__).parents[1] / "templates"
    return [(place / f"{name}.j2").read_text() for name in flake.FILES]


def test_a_new_instance_s_host_has_no_key_yet_and_no_release_but_its_own() -> None:
    text = "".join(_templates())
    assert re.search(r"operatorKeys = \[\n\s+#", text)
    assert "system.stateVersion" in text
    shared = [path.read_text() for path in (ROOT / "hosts/agency").rglob("*.nix")]
    assert not [one for one in shared if "stateVersion" in one]


def test_a_disk_for_uefi(with_disko: dict[str, Any]) -> None:
    machine = with_disko["disk"]["uefi"]
    assert (machine["failing"], machine["warnings"]) == ([], [])
    assert machine["fileSystems"] == {
        "/": "/dev/disk/by-partlabel/disk-main-root",
        "/boot": "/dev/disk/by-partlabel/disk-main-ESP",
    }
    assert (machine["systemdBoot"], machine["grub"]) == (True, False)
    assert machine["bootLimit"] == 10
    assert set(machine["initrd"]) >= VIRTIO
    assert machine["toplevel"].endswith(".drv")


def test_a_disk_for_bios(with_disko: dict[str, Any]) -> None:
    machine = with_disko["disk"]["bios"]
    assert (machine["failing"], machine["warnings"]) == ([], [])
    assert machine["fileSystems"] == {"/": "/dev/disk/by-partlabel/disk-main-root"}
    assert (machine["systemdBoot"], machine["grub"]) == (False, True)
    assert machine["grubDevices"] == ["/dev/vda"]
    assert set(machine["initrd"]) >= VIRTIO
    assert machine["toplevel"].endswith(".drv")


@pytest.mark.parametrize("firmware", ["uefi", "bios"])
def test_the_installer_gets_what_it_asks_for(with_disko: dict[str, Any], firmware: str) -> None:
    """nixos-anywhere builds these two and the system."""
    machine = with_disko["disk"][firmware]
    assert machine["partitioner"].endswith(".drv")
    assert machine["installer"].endswith(".drv")


def test_a_machine_that_brings_its_hardware_keeps_it(entry: dict[str, Any]) -> None:
    machine = entry["brought"]
    assert (machine["failing"], machine["warnings"]) == ([], [])
    assert machine["fileSystems"] == {"/": "/dev/sda1"}
    assert (machine["systemdBoot"], machine["grub"]) == (False, True)
    assert machine["toplevel"].endswith(".drv")


def test_git_is_on_the_machine(entry: dict[str, Any]) -> None:
    assert "git" in entry["programs"]


def test_the_deploy_key_is_for_root_s_ssh(entry: dict[str, Any]) -> None:
    """The one way in which a secret reaches a program that is no unit."""
    key = entry["deployKey"]
    assert (key["owner"], key["mode"], key["class"]) == ("root", "0400", "A2")
    assert f"Match localuser root\n  IdentityFile {key['path']}" in key["ssh"]
    assert key["placed"]


@pytest.mark.parametrize("way", ["password", "passwordFile", "wheelKey"])
def test_a_way_to_log_in_is_enough(entry: dict[str, Any], way: str) -> None:
    """The positive controls of the assertion that refuses a machine without one."""
    assert entry["logIn"][way] == []


def test_a_user_without_rights_is_no_way_to_operate_it(entry: dict[str, Any]) -> None:
    (message,) = entry["logIn"]["stranger"]
    assert "nobody could log in" in message


def test_operators_have_accounts_where_no_provider_makes_them(entry: dict[str, Any]) -> None:
    alone = entry["accounts"]["alone"]
    assert alone["operators"] == ["@alice:agency.example.org"]
    assert alone["handoverDir"] == "/var/lib/agency/handover"
    assert "agency-reconcile-accounts.service" in entry["accounts"]["consumers"]
    assert not entry["accounts"]["byProvider"]


def test_the_package_has_what_it_calls(entry: dict[str, Any]) -> None:
    package = entry["package"]
    assert package["drvPath"].endswith(".drv")
    assert set(package["programs"]) >= {"age", "coreutils", "git-minimal", "sops", "util-linux"}
    assert package["spinUp"].endswith("/bin/spinup_smoke")
