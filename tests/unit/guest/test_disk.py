"""What is on a virtual machine's disk, as far as it shows without building one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from agency.errors import BadInputError
from agency.guests.images.disk import disk, incus_agent_setup, virtual
from agency.guests.images.recipe import ImageRecipe, default_recipe
from agency.guests.incus.model import InstanceSpec, Kind, Limits

FIELD = re.compile(r"(\w[\w-]*)=([^,\n]+)")


def test_partitions_follow_each_other_and_leave_room_for_both_tables():
    lines = [line for line in disk.partition_table("amd64").splitlines() if "start=" in line]
    esp, root = (dict(FIELD.findall(line)) for line in lines)
    assert int(esp["start"]) % 2048 == 0
    assert int(esp["start"]) + int(esp["size"]) == int(root["start"])
    end = int(root["start"]) + int(root["size"])
    assert end + 34 <= disk.DISK_MIB * disk.MIB // disk.SECTOR
    assert root["uuid"] != esp["uuid"]


def test_a_guest_of_the_usual_size_has_room_for_the_disk():
    assert Limits().disk_gb * 1024 >= disk.DISK_MIB


@pytest.mark.parametrize(("architecture", "console"), [("amd64", "ttyS0"), ("arm64", "ttyAMA0")])
def test_the_loader_boots_the_root_that_fstab_names(architecture, console):
    options = disk.boot_entry(architecture).splitlines()[-1].split()
    assert f"root=UUID={virtual.ROOT_UUID}" in options
    assert options[-1] == f"console={console}"
    assert virtual.machine_files()["/etc/fstab"].startswith(f"UUID={virtual.ROOT_UUID} / ext4 ")


def test_only_a_virtual_machine_has_a_kernel():
    container, machine = default_recipe(), default_recipe(Kind.VM)
    assert (container.kind, machine.kind) == (Kind.CONTAINER, Kind.VM)
    added = set(machine.packages) - set(container.packages)
    assert {"systemd-boot-efi", "initramfs-tools"} <= added
    assert set(container.packages) <= set(machine.packages)
    assert set(container.files) <= set(machine.files)
    assert ImageRecipe.model_validate(machine.model_dump()) == machine
    assert container.digest != machine.digest


def test_a_virtual_machine_boots_what_nobody_signed():
    spec = InstanceSpec("g", Kind.VM, "f" * 64, "pool", Limits())
    config = spec.body()["config"]
    assert config["security.secureboot"] == "false"
    assert config["security.guestapi"] == "false"
    assert not any(key.startswith("limits.processes") for key in config)


@pytest.mark.parametrize("kernels", [[], ["vmlinuz-6.1", "vmlinuz-6.2"]])
async def test_a_root_without_one_kernel_is_refused_before_a_disk_is_made(tmp_path, kernels):
    root, scratch, made = tmp_path / "root", tmp_path / "scratch", tmp_path / "rootfs.img"
    loader = root / "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
    for directory in (loader.parent, root / "boot", scratch):
        directory.mkdir(parents=True)
    loader.touch()
    for name in kernels:
        (root / "boot" / name).touch()
    with pytest.raises(BadInputError, match=f"{len(kernels)} files match vmlinuz"):
        await disk.pack_disk(root, "amd64", scratch, made, tmp_path / "log", marker="m")
    assert not made.exists()


class Share:
    """Simulated: programs that only note their call; one way to mount brings the share's files."""

    def __init__(self, works: str | None, files: dict[str, str]) -> None:
        self.works, self.files = works, files
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str]) -> bool:
        self.ran.append(tuple(argv))
        if argv[0] != "mount" or "tmpfs" in argv:
            return True
        if self.works not in argv:
            return False
        for name, text in self.files.items():
            path = Path(argv[-1]) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if name == "incus-agent" else 0o600)
        return True

    @property
    def kinds(self) -> list[str]:
        return [argv[0] for argv in self.ran]


AGENT = {"incus-agent": "agent", "agent.crt": "certificate", "nics/eth0": "{}"}


@pytest.mark.parametrize("way", ["9p", "virtiofs", incus_agent_setup._CDROM])
def test_the_agent_is_taken_from_whatever_the_host_offers(tmp_path, way):
    place, share = tmp_path / "incus_agent", Share(way, AGENT)
    assert incus_agent_setup.set_up(place, share)
    assert (place / "incus-agent").read_text() == "agent"
    assert (place / "nics" / "eth0").read_text() == "{}"
    assert place.stat().st_mode & 0o777 == 0o700
    assert share.kinds[-1] == "umount"
    assert incus_agent_setup.room(place) in share.ran
    assert [path.name for path in tmp_path.iterdir()] == ["incus_agent"]


def test_a_share_that_is_gone_leaves_the_agent_of_before(tmp_path):
    place = tmp_path / "incus_agent"
    assert not incus_agent_setup.set_up(place, Share(None, AGENT))
    assert incus_agent_setup.set_up(place, Share("9p", AGENT))
    assert incus_agent_setup.set_up(place, Share(None, AGENT))


def test_a_share_without_an_agent_is_none(tmp_path):
    assert not incus_agent_setup.set_up(tmp_path / "a", Share("9p", {"agent.crt": "c"}))


def test_a_program_that_is_not_there_is_a_failure_and_no_crash():
    assert not incus_agent_setup.succeeds(["/no/such/program"])
    assert incus_agent_setup.succeeds(["true"])
