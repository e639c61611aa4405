"""NixOS images and switches, with programs that stand in for Nix: simulated, every one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.guests.images import nixos
from agency.guests.images.builder import BuildError
from agency.guests.images.disk.split import fingerprint
from agency.guests.incus.execution import Command
from agency.guests.incus.model import Kind
from agency.guests.machines.machine import Guest
from agency.machine.machine import Completed, MachineError
from agency.spinup.targets.incus.system import switch as switching

FAKE_NIX = """\
#!/bin/sh
printf '%s\\n' "$PWD" "$@" >> {record}
echo "warning: simulated" >&2
{ending}
"""


@dataclass
class Nix:
    """A program named nix that records its calls, and what it says it has built."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    output: Path = field(init=False)
    record: Path = field(init=False)

    def __post_init__(self) -> None:
        self.output, self.record = self.directory / "output", self.directory / "record"
        self.output.mkdir(parents=True)

    def install(self, ending: str | None = None) -> None:
        program = self.directory / "bin" / "nix"
        program.parent.mkdir(exist_ok=True)
        text = ending or f"echo {self.output}"
        program.write_text(FAKE_NIX.format(record=self.record, ending=text))
        program.chmod(0o755)
        self.monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    def calls(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nix:
    monkeypatch.setattr(nixos, "_NEEDS", 0)
    return Nix(tmp_path / "nix", monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "flake.nix").write_text("{ }\n")
    return directory


async def test_a_disk_is_built_once_and_kept_with_its_source(tmp_path, nix, source):
    nix.install()
    (nix.output / "nixos.qcow2").write_bytes(b"disk")
    for fresh in (True, False):
        async with nixos.hold_nixos_image(tmp_path, source, Kind.VM, marker="m") as image:
            assert (image.fresh, image.kind) == (fresh, Kind.VM)
            assert (image.rootfs.name, image.rootfs.read_bytes()) == ("rootfs.img", b"disk")
            assert image.fingerprint == fingerprint(image.metadata, image.rootfs)
    assert nix.calls() == [str(source), *nixos.build_argv(Kind.VM)[1:]]
    assert nixos.image_is_built(tmp_path, source, Kind.VM)
    assert not nixos.image_is_built(tmp_path, source, Kind.CONTAINER)
    (source / "flake.nix").write_text("{ a = 1; }\n")
    assert not nixos.image_is_built(tmp_path, source, Kind.VM)


async def test_a_container_is_another_package_of_the_flake(tmp_path, nix, source):
    nix.install()
    (nix.output / "tarball").mkdir()
    (nix.output / "tarball" / "nixos-system-x86_64-linux.tar.xz").write_bytes(b"files")
    async with nixos.hold_nixos_image(tmp_path, source, Kind.CONTAINER, marker="m") as image:
        assert image.rootfs.name == "rootfs.tar.xz"
    assert nix.calls()[-1] == ".#throwaway-container"
    assert "--no-link" in nix.calls()


async def test_without_nix_the_way_out_is_said(tmp_path, source, monkeypatch):
    monkeypatch.setattr(nixos, "_NEEDS", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="'nix' is not installed") as caught:
        async with nixos.hold_nixos_image(tmp_path, source, Kind.VM, marker="m"):
            pass
    assert "--image debian" in caught.value.hint


async def test_what_nix_says_of_a_failure_is_kept(tmp_path, nix, source):
    nix.install("echo 'error: cannot fetch: no network' >&2; exit 1")
    with pytest.raises(BuildError, match="status 1") as caught:
        async with nixos.hold_nixos_image(tmp_path, source, Kind.VM, marker="m"):
            pass
    assert "error: cannot fetch: no network" in caught.value.log_tail
    assert not nixos.image_is_built(tmp_path, source, Kind.VM)


@pytest.mark.parametrize("files", [[], ["a.qcow2", "b.qcow2"]])
async def test_an_output_that_is_no_image_is_refused(tmp_path, nix, source, files):
    nix.install()
    for name in files:
        (nix.output / name).touch()
    with pytest.raises(BadInputError, match=f"{len(files)} files match"):
        async with nixos.hold_nixos_image(tmp_path, source, Kind.VM, marker="m"):
            pass


async def test_a_build_that_names_no_output_is_refused(tmp_path, nix, source):
    nix.install("true")
    with pytest.raises(BadInputError, match="no store path"):
        async with nixos.hold_nixos_image(tmp_path, source, Kind.VM, marker="m"):
            pass


BEFORE, AFTER = "/nix/store/aaa-nixos-system", "/nix/store/bbb-nixos-system"


@dataclass
class SimulatedIncus:
    """Answers like a NixOS guest, and remembers what it was asked to run."""

    after: str = AFTER
    rebuild: Completed = field(default_factory=lambda: Completed(0, b"", b"", truncated=False))
    ran: list[tuple[str, ...]] = field(default_factory=list)
    inputs: dict[str, bytes] = field(default_factory=dict)

    async def exec(
        self, name: str, command: Command, *, stdin: bytes = b"", timeout_s: float
    ) -> Completed:
        argv = tuple(command.argv)
        self.ran.append(argv)
        self.inputs[argv[0]] = stdin
        if argv[0].endswith("/nixos-rebuild"):
            return self.rebuild
        switched = any(one[0].endswith("/nixos-rebuild") for one in self.ran)
        answers: Mapping[str, bytes] = {
            "readlink": (self.after if switched else BEFORE).encode() + b"\n",
            "find": b"0a  /etc/systemd/system/b.service\n",
            "nix-store": b"sha256:0abc\n",
        }
        return Completed(0, answers.get(PurePosixPath(argv[0]).name, b""), b"", truncated=False)


def guest_of(incus: SimulatedIncus, kind: Kind = Kind.VM) -> Guest:
    return Guest(incus, "g", kind)  # type: ignore[arg-type]


async def test_a_switch_tells_what_an_activation_tells():
    incus = SimulatedIncus()
    await switching.put_tree(guest_of(incus), b"archive", switching.SOURCE)
    facts = await switching.rebuild(guest_of(incus), clock=Clock(), timeout_s=9)
    assert (facts["system"], facts["systemDigest"]) == (AFTER, "sha256:0abc")
    assert facts["changed"] is True
    assert facts["changes"][0]["from"] == BEFORE
    assert facts["digests"] == {"etc/systemd/system/b.service": "0a"}
    assert incus.inputs["tar"] == b"archive"


async def test_a_switch_to_the_same_system_changes_nothing():
    incus = SimulatedIncus(after=BEFORE)
    facts = await switching.rebuild(guest_of(incus), clock=Clock(), timeout_s=9)
    assert (facts["changed"], facts["system"]) == (False, BEFORE)


@pytest.mark.parametrize(
    ("kind", "host"), [(Kind.VM, "throwaway"), (Kind.CONTAINER, "throwaway-container")]
)
async def test_the_guest_switches_to_the_host_that_its_image_was_made_of(kind, host):
    incus = SimulatedIncus()
    await switching.rebuild(guest_of(incus, kind), clock=Clock(), timeout_s=9)
    (argv,) = (one for one in incus.ran if one[0].endswith("/nixos-rebuild"))
    assert argv == switching.switch_argv(kind)
    assert argv[1] == "switch"
    assert f"path:{switching.SOURCE}#{host}" in argv
    assert "--offline" in argv


async def test_a_switch_that_fails_shows_the_end_of_what_was_said():
    said = b"building\nerror: attribute 'x' missing\n"
    incus = SimulatedIncus(rebuild=Completed(1, b"", said, truncated=False))
    with pytest.raises(MachineError, match="attribute 'x' missing") as caught:
        await switching.rebuild(guest_of(incus), clock=Clock(), timeout_s=9)
    assert caught.value.log_tail == ("building", "error: attribute 'x' missing")


def test_the_archive_has_what_the_digest_counts_and_belongs_to_root(source):
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("run")
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "x.pyc").touch()
    with tarfile.open(fileobj=io.BytesIO(switching.source_archive(source))) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert sorted(entries) == ["flake.nix", "link", "run"]
    assert entries["link"].linkname == "run"
    assert entries["run"].mode & 0o111
    assert {(entry.uid, entry.uname) for entry in entries.values()} == {(0, "root")}
