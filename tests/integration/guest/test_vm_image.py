"""The disk of a virtual machine: built, read back, and booted by QEMU's software emulation.

Incus itself cannot run virtual machines where these tests usually run, so what QEMU is given here
stands for it: a share with a stand-in for the agent, which says what it sees and ends the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agency.errors import PrerequisiteError
from agency.guests.images.disk import disk
from agency.guests.images.image import Image, build, hold_image
from agency.guests.images.recipe import default_recipe
from agency.guests.images.wheelhouse import Ingredients, hold_libraries
from agency.guests.incus.client import Incus
from agency.guests.incus.model import Kind

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements" / "guest.txt"
OVMF = Path("/usr/share/OVMF")
BOOT_S = 300
GROWN_GIB = 6


@dataclass(frozen=True)
class Disk:
    """An image, and its disk as a plain file."""

    image: Image
    raw: Path


def missing() -> str | None:
    """What of the programs is not here, in one line."""
    programs = (*disk.PROGRAMS, "mdir", "mtype", "debugfs", "qemu-system-x86_64")
    absent = [name for name in programs if shutil.which(name) is None]
    absent += [] if OVMF.is_dir() else [str(OVMF)]
    return f"not installed: {', '.join(absent)}" if absent else None


pytestmark = pytest.mark.skipif(
    missing() is not None and not os.environ.get("AGENCY_REQUIRE_GUEST"), reason=str(missing())
)


def tail(file: Path) -> str:
    return file.read_text(errors="replace")[-2000:]


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []


def run(*argv: str | Path, stdin: str | None = None) -> str:
    done = subprocess.run(
        [str(one) for one in argv], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(place: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Disk]:
    raw = tmp_path_factory.mktemp("disk") / "disk.raw"
    recipe = default_recipe(Kind.VM)
    ingredients, marker = Ingredients(REQUIREMENTS, recipe), "agency-tests"
    async with (
        hold_libraries(place.materials, ingredients, marker=marker) as libraries,
        hold_image(place.apart, recipe, libraries, marker=marker) as image,
    ):
        run("qemu-img", "convert", "-O", "raw", image.rootfs, raw)
        yield Disk(image, raw)
    raw.unlink()


@pytest.fixture(scope="module")
def root(built: Disk) -> Path:
    """The root's partition, on its own."""
    target = built.raw.with_name("root.img")
    start, size = f"skip={disk.ROOT.start}", f"count={disk.ROOT.size}"
    run("dd", f"if={built.raw}", f"of={target}", "bs=1M", start, size, "conv=sparse")
    return target


def within(root: Path, request: str) -> str:
    return run("debugfs", "-R", request, root)


def test_the_partition_table_names_what_systemd_looks_for(built: Disk) -> None:
    table = json.loads(run("sfdisk", "--json", built.raw))["partitiontable"]
    assert table["label"] == "gpt"
    esp, root = table["partitions"]
    assert (esp["name"], esp["start"] * 512) == ("esp", disk.ESP.start * disk.MIB)
    assert esp["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    assert (root["name"], root["start"] * 512) == ("root", disk.ROOT.start * disk.MIB)
    assert root["size"] * 512 == disk.ROOT.size * disk.MIB
    run("sfdisk", "--verify", built.raw)


def test_the_boot_partition_has_loader_kernel_and_ram_disk(built: Disk, root: Path) -> None:
    esp = f"{built.raw}@@{disk.ESP.start * disk.MIB}"
    names = run("mdir", "-/", "-b", "-i", esp, "::/").splitlines()
    assert {"::/EFI/BOOT/BOOTX64.EFI", "::/vmlinuz", "::/initrd.img"} <= set(names)
    entry = run("mtype", "-i", esp, "::/loader/entries/debian.conf")
    uuid = run("blkid", "-p", "-s", "UUID", "-o", "value", root).strip()
    assert f"root=UUID={uuid} " in entry
    copied = built.raw.with_name("vmlinuz")
    run("mcopy", "-n", "-i", esp, "::/vmlinuz", copied)
    kernel = within(root, f"stat /boot/vmlinuz-{only_release(root)}")
    assert f"Size: {copied.stat().st_size}" in " ".join(kernel.split())


def only_release(root: Path) -> str:
    lines = within(root, "ls -p /usr/lib/modules").splitlines()
    names = [line.split("/")[5] for line in lines if line.startswith("/")]
    (release,) = (name for name in names if name not in (".", ".."))
    return release


def test_the_root_is_whole_and_its_files_are_owned_as_in_the_recipe(root: Path) -> None:
    run("e2fsck", "-f", "-n", root)
    recipe = default_recipe(Kind.VM)
    for path, content in recipe.files.items():
        assert within(root, f"cat {path}") == content
    assert "User:     0" in within(root, "stat /etc/fstab")
    assert "Type: regular" in within(root, "stat /opt/agency/bin/pip"), "libraries are not baked in"
    assert "Mode:  0640" in within(root, "stat /etc/shadow")


@pytest.mark.parametrize(
    "module",
    ["9p/9p.ko", "virtio_scsi.ko", "vmw_vsock_virtio_transport.ko", "nf_tables.ko"],
)
def test_the_kernel_has_what_incus_and_the_agency_need(root: Path, module: str) -> None:
    listed = within(root, f"cat /usr/lib/modules/{only_release(root)}/modules.dep")
    assert f"/{module}:" in listed


@pytest.mark.asyncio(loop_scope="module")
async def test_incus_takes_it_for_the_image_of_a_virtual_machine(
    built: Disk, client: Incus
) -> None:
    """It imports, though no virtual machine can be made of it where there is no driver."""
    image = built.image
    fingerprint = await client.import_image(
        image.metadata, image.rootfs, kind=image.kind, timeout_s=300
    )
    try:
        assert fingerprint == image.fingerprint
        listed = run_incus(client, "image", "list", "--format=json")
        (found,) = (one for one in listed if one["fingerprint"] == fingerprint)
        assert found["type"] == "virtual-machine"
    finally:
        await client.delete_image(fingerprint)


def run_incus(client: Incus, *argv: str) -> list[dict[str, object]]:
    environment = {**os.environ, "INCUS_SOCKET": str(client.socket)}
    done = subprocess.run(
        ["incus", *argv], env=environment, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


# Notifies systemd like the agent does, waits for the end of the boot, reports, ends the machine.
STAND_IN = """\
#!/usr/bin/python3 -I
import json, os, pathlib, socket, subprocess, threading

def finish():
    argv = ["systemctl", "is-system-running", "--wait"]
    state = subprocess.run(argv, capture_output=True, text=True, timeout=250).stdout.strip()
    failed = subprocess.run(
        ["systemctl", "list-units", "--failed", "--plain", "--no-legend"],
        capture_output=True, text=True, timeout=30,
    ).stdout
    size = os.statvfs("/")
    report = {
        "state": state,
        "failed": failed,
        "root_bytes": size.f_frsize * size.f_blocks,
        "links": sorted(os.listdir("/sys/class/net")),
        "share": pathlib.Path("/run/incus_agent/agent.crt").read_text(),
        "mode": oct(os.stat("/run/incus_agent").st_mode & 0o777),
        "units": subprocess.run(
            ["systemctl", "is-active", "incus-agent", "serial-getty@ttyS0"],
            capture_output=True, text=True, timeout=30,
        ).stdout.split(),
    }
    with open("/dev/virtio-ports/report", "w") as port:
        port.write(json.dumps(report) + "\\n")
    subprocess.run(["systemctl", "poweroff"], timeout=30)

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
threading.Thread(target=finish).start()
"""


def qemu(disk_image: Path, share: Path, report: Path, console: Path) -> list[str]:
    """A machine like one of Incus: UEFI, virtio-scsi, a named port, a share; no KVM, no network."""
    firmware = "if=pflash,format=raw"
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"),
        *("-smp", "2", "-m", "1024", "-nodefaults", "-display", "none", "-nic", "none"),
        *("-drive", f"{firmware},readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}"),
        *("-drive", f"{firmware},snapshot=on,file={OVMF / 'OVMF_VARS_4M.fd'}"),
        *("-device", "virtio-scsi-pci", "-drive", f"if=none,id=root,file={disk_image}"),
        *("-device", "scsi-hd,drive=root", "-device", "virtio-serial-pci"),
        *("-chardev", "null,id=agent"),
        *("-device", "virtserialport,chardev=agent,name=org.linuxcontainers.incus"),
        *("-chardev", f"file,id=report,path={report}"),
        *("-device", "virtserialport,chardev=report,name=report"),
        *("-virtfs", f"local,path={share},mount_tag=config,security_model=none,readonly=on"),
        *("-serial", f"file:{console}"),
    ]


def test_it_boots_grows_and_starts_the_agent_that_the_host_offers(
    built: Disk, tmp_path: Path
) -> None:
    """Simulated: the machine's agent is a stand-in, and QEMU runs without Incus."""
    overlay, share = tmp_path / "overlay.qcow2", tmp_path / "share"
    share.mkdir()
    (share / "incus-agent").write_text(STAND_IN)
    (share / "incus-agent").chmod(0o500)
    (share / "agent.crt").write_text("certificate\n")
    run(
        *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"),
        *("-b", built.image.rootfs, overlay, f"{GROWN_GIB}G"),
    )
    report, console = tmp_path / "report", tmp_path / "console"
    argv = qemu(overlay, share, report, console)
    try:
        subprocess.run(argv, check=True, timeout=BOOT_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it did not end by itself; its console: {tail(console)}")
    seen = json.loads(report.read_text())
    assert (seen["state"], seen["failed"]) == ("running", "")
    assert seen["links"] == ["lo"]
    assert (seen["share"], seen["mode"]) == ("certificate\n", "0o700")
    # The machine ends at once, so the console need not have come to ask for a name.
    assert seen["units"] == ["active", "active"], "its agent, and the log-in at its console"
    assert seen["root_bytes"] > (GROWN_GIB - 1) * 1024**3, "the file system did not grow"


async def test_missing_programs_are_all_named_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: str
) -> None:
    absent = {"mcopy", "qemu-img"}
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in absent else which(name))
    with pytest.raises(PrerequisiteError, match="mcopy, qemu-img") as caught:
        await build(default_recipe(Kind.VM), None, tmp_path, marker=marker)
    assert "mtools qemu-utils" in (caught.value.hint or "")
    assert names_in(tmp_path) == []
