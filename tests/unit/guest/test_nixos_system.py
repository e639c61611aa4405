"""A spin-up's part of NixOS, on a guest and with programs of Nix that are simulated, every one."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from agency.archive import archive, tree
from agency.canonical import sha256_hex
from agency.guests.activation.age_key import AGE_KEY_FILE
from agency.guests.images import nix_store
from agency.guests.images.disk.split import FACTS
from agency.guests.images.image import Image
from agency.guests.incus.execution import Command
from agency.guests.incus.model import Kind
from agency.guests.machines.machine import Guest
from agency.machine.machine import Completed, MachineError
from agency.secrets.encryption.age import new_key
from agency.spinup.convergence import Converging
from agency.spinup.targets.incus.system import Ground
from agency.spinup.targets.incus.system import switch as switching
from agency.spinup.targets.incus.system.nixos import NixosSystem, closure_packages
from agency.transcript.rules.v1.services import ALWAYS_ENDING, ALWAYS_RUNNING
from agency.transcript.rules.v2.judge import PROBES

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
IMAGE_SYSTEM, RUN_SYSTEM = (f"/nix/store/{HASH}-nixos-system-{name}-26.11" for name in "ab")
NAR = f"sha256:{'0a' * 26}"
SECRETS = "agency-secrets.service"  # of a machine without sops-nix
START = (*ALWAYS_RUNNING, *ALWAYS_ENDING, SECRETS)
OWN = [name for name in START if name.startswith("agency-") and name != SECRETS]
CONTROL = "/etc/agency/control.json"
DECLARED = b'{"a":1}'


def store(name: str) -> str:
    return f"/nix/store/{HASH}-{name}"


@dataclass
class SimulatedGuest:
    """A NixOS as Incus's `exec` would reach it: one file, three units, a firewall, a system."""

    heals: bool = True
    rebuild: Completed | None = None
    system: str = IMAGE_SYSTEM
    content: bytes = DECLARED
    active: dict[str, bool] = field(default_factory=dict)
    starts: int = 0
    ran: list[tuple[str, ...]] = field(default_factory=list)
    inputs: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.active = dict.fromkeys((*ALWAYS_RUNNING, *ALWAYS_ENDING), False)
        self.active["nftables.service"] = True

    async def exec(
        self, name: str, command: Command, *, stdin: bytes = b"", timeout_s: float
    ) -> Completed:
        argv = tuple(command.argv)
        self.ran.append(argv)
        self.inputs.append((argv[0], stdin))
        answer = getattr(self, PurePosixPath(argv[0]).name.replace("-", "_"))(argv[1:], stdin)
        return answer if isinstance(answer, Completed) else Completed(0, answer, b"", False)

    def nixos_rebuild(self, argv: tuple[str, ...], _: bytes) -> bytes | Completed:
        if self.rebuild is not None:
            return self.rebuild
        self.system = RUN_SYSTEM
        if self.heals:
            self.content = DECLARED
            for unit in ALWAYS_RUNNING:
                self.starts += not self.active[unit]
                self.active[unit] = True
        return b""

    def readlink(self, *_: object) -> bytes:
        return self.system.encode() + b"\n"

    def systemctl(self, argv: tuple[str, ...], _: bytes) -> bytes:
        if argv[0] == "stop":
            for unit in set(argv[1:]) & set(self.active):
                self.active[unit] = False
            return b""
        if argv[0] == "list-units":
            return b"[]"
        return "\n\n".join(map(self.shown, argv[argv.index("--") + 1 :])).encode() + b"\n"

    def shown(self, unit: str) -> str:
        there, active = unit in self.active, self.active.get(unit, False)
        invocation = f"{self.starts:032x}" if active else ""
        states = ("active", "running") if active else ("inactive", "dead")
        load = "loaded" if there else "not-found"
        return (
            f"Id={unit}\nLoadState={load}\nInvocationID={invocation}\nActiveState={states[0]}\n"
            f"SubState={states[1]}\nMainPID=0\nNRestarts=0"
        )

    def find(self, argv: tuple[str, ...], _: bytes) -> bytes:
        declared = argv[1].startswith("/run/current-system")
        content = DECLARED if declared else self.content
        place = "/run/current-system/etc" if declared else "/etc"
        units = OWN if "/etc/systemd/system" in argv else []
        laid = [f"{place}/agency/control.json", *(f"/etc/systemd/system/{name}" for name in units)]
        return "".join(f"{sha256_hex(content)}  {path}\n" for path in laid).encode()

    def nix_store(self, argv: tuple[str, ...], _: bytes) -> bytes:
        if argv[0] == "--import":
            return b""
        paths = [store("glibc-2.42-67"), self.system]
        return NAR.encode() if "--hash" in argv else "\n".join(paths).encode()

    def nft(self, *_: object) -> Completed:
        there = self.active["nftables.service"]
        return Completed(0 if there else 1, b"chain output" if there else b"", b"", False)

    def cat(self, *_: object) -> bytes:
        return self.content

    def tee(self, _: tuple[str, ...], stdin: bytes) -> bytes:
        self.content = stdin
        return b""

    def rm(self, *_: object) -> bytes:
        return b""

    mkdir = tar = install = dd = rm


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    source = tmp_path / "source"
    start = source / "modules" / "portable" / "start.json"
    start.parent.mkdir(parents=True)
    start.write_text(json.dumps({"units": START}))
    exported = start.parent / "machine" / "etc" / "systemd" / "system" / "agency-issued.service"
    exported.parent.mkdir(parents=True)
    exported.write_text("[Service]\nType=oneshot\n")
    (source / "flake.nix").write_text("{ }\n")
    return Ground(tmp_path, source, Kind.CONTAINER, "marker")


@pytest.fixture
def system(ground: Ground, tmp_path: Path) -> NixosSystem:
    directory = tmp_path / "image"
    directory.mkdir()
    (directory / FACTS).write_text(json.dumps({"built": store("tarball")}))
    image = Image(directory, Kind.CONTAINER, "d" * 64, "f" * 64, {}, fresh=True)
    return NixosSystem(ground, image, provider=None)  # type: ignore[arg-type]


def guest_of(simulated: SimulatedGuest) -> Guest:
    return Guest(simulated, "g", Kind.CONTAINER)  # type: ignore[arg-type]


def convergence_of(system: NixosSystem, simulated: SimulatedGuest) -> Converging:
    return system.convergence(guest_of(simulated), timeout_s=60)


def holds(probe: str, evidence: dict[str, Any]) -> bool:
    verdict = PROBES[probe].judge(json.loads(json.dumps(evidence)))
    assert verdict.ok or verdict.reason
    return verdict.ok


async def test_the_first_switch_is_evidence_of_an_activation(system: NixosSystem) -> None:
    seen = await convergence_of(system, SimulatedGuest()).activate()
    assert holds("activation.first", {**seen, "seconds": 1.0})
    assert (seen["system"], seen["systemDigest"]) == (RUN_SYSTEM, NAR)
    assert seen["expected"] == {
        "running": sorted(ALWAYS_RUNNING),
        "ending": ["agency-issued.service"],
    }, "a unit that this system has not is left out"
    states = {unit["name"]: unit["active"] for unit in seen["units"]}
    assert states == {
        **dict.fromkeys(ALWAYS_RUNNING, "active"),
        "agency-issued.service": "inactive",
    }


@pytest.mark.parametrize("unit", ALWAYS_RUNNING)
async def test_a_unit_that_this_system_lacks_is_missed(unit: str, system: NixosSystem) -> None:
    simulated = SimulatedGuest(heals=False)
    simulated.active.update(dict.fromkeys(ALWAYS_RUNNING, True))
    seen = await convergence_of(system, simulated).activate()
    assert holds("activation.first", {**seen, "seconds": 1.0})
    del simulated.active[unit]
    simulated.system = IMAGE_SYSTEM
    seen = await convergence_of(system, simulated).activate()
    assert not holds("activation.first", {**seen, "seconds": 1.0})


async def test_the_second_switch_changes_nothing_and_starts_nothing(system: NixosSystem) -> None:
    converging = convergence_of(system, SimulatedGuest())
    first = await converging.activate()
    again = await converging.again()
    assert holds("activation.again", {**again, "seconds": 1.0})
    assert again["systemDigest"] == first["systemDigest"]


async def test_a_second_switch_that_starts_a_unit_anew_does_not_hold(system: NixosSystem) -> None:
    simulated = SimulatedGuest()
    converging = convergence_of(system, simulated)
    await converging.activate()
    simulated.active["agency-audit.socket"] = False  # which the switch starts
    again = await converging.again()
    assert not holds("activation.again", {**again, "seconds": 1.0})


async def test_drift_is_found_and_healed(system: NixosSystem) -> None:
    converging = convergence_of(system, SimulatedGuest())
    await converging.activate()
    seen = await converging.drift()
    assert holds("activation.drift", seen)
    assert [one["what"].split()[0] for one in seen["planted"]] == ["file", "unit", "firewall"]
    assert (seen["foundByCheck"], seen["leftAfter"]) == (3, 0)


async def test_drift_that_does_not_heal_is_not_said_to(system: NixosSystem) -> None:
    simulated = SimulatedGuest()
    converging = convergence_of(system, simulated)
    await converging.activate()
    simulated.heals = False
    seen = await converging.drift()
    assert not holds("activation.drift", seen)
    assert seen["leftAfter"] == 3


async def test_a_switch_that_fails_says_why(system: NixosSystem) -> None:
    failed = Completed(1, b"", b"error: attribute 'x' missing\n", truncated=False)
    with pytest.raises(MachineError, match="attribute 'x' missing"):
        await convergence_of(system, SimulatedGuest(rebuild=failed)).activate()


@pytest.fixture
def run_instance(tmp_path: Path) -> Any:
    root = tmp_path / "secrets" / "instance"
    (root / "generated").mkdir(parents=True)
    (root / "instance.yaml").write_text("name: run\n")
    (root / "generated" / "instance.json").write_text("{}")
    return SimpleNamespace(root=root)


async def test_the_run_s_system_is_built_here_and_what_lacks_is_brought(
    system: NixosSystem, run_instance: Any, nix: Callable[[str, str], Path]
) -> None:
    new = store("etc")
    built = nix("nix", f"echo warning: simulated >&2; echo {RUN_SYSTEM}")
    asked = nix(
        "nix-store",
        f'case "$1$2" in --query--size) echo 1 2 ;; --export*) echo "export of $2 $3" ;;'
        f" *) printf '%s\\n' {store('glibc-2.42-67')} {new} {RUN_SYSTEM} ;; esac",
    )
    simulated, key = SimulatedGuest(), new_key()
    made = await system.provision(guest_of(simulated), run_instance, key, timeout_s=60)
    staged = run_instance.root.parent / "system" / "source"
    assert built.read_text().splitlines() == [
        *nix_store.system_argv(Kind.CONTAINER, staged, run_instance.root)[1:]
    ]
    assert (staged / "flake.nix").is_file(), "it is built from the files that the guest gets"
    assert asked.read_text().splitlines() == ["--export", new, RUN_SYSTEM]
    programs = [PurePosixPath(argv[0]).name for argv in simulated.ran]
    assert programs == ["rm", "mkdir", "tar"] * 2 + ["nix-store", "nix-store", "install", "dd"]
    imported = [stdin for argv0, stdin in simulated.inputs if argv0.endswith("nix-store")][-1]
    assert imported == f"export of {new} {RUN_SYSTEM}\n".encode()
    assert simulated.inputs[-1] == ("dd", key.identity.reveal().encode())
    assert f"of={AGE_KEY_FILE}" in simulated.ran[-1]
    seen = await made.packages()
    assert (seen["of"], simulated.ran[-1][-1]) == (RUN_SYSTEM, RUN_SYSTEM)
    secret = key.identity.reveal().splitlines()[-1]
    assert not any(secret in word for argv in simulated.ran for word in argv)


async def test_a_system_that_is_there_already_is_not_brought(
    system: NixosSystem, run_instance: Any, nix: Callable[[str, str], Path]
) -> None:
    nix("nix", f"echo {IMAGE_SYSTEM}")
    asked = nix("nix-store", f"echo {IMAGE_SYSTEM}")
    simulated = SimulatedGuest()
    await system.provision(guest_of(simulated), run_instance, new_key(), timeout_s=60)
    assert asked.read_text().splitlines()[0] == "--query"
    assert not any("--import" in argv for argv in simulated.ran)


def test_the_run_s_instance_takes_the_place_of_the_source_s() -> None:
    argv = switching.switch_argv(Kind.VM, switching.INSTANCE)
    at = argv.index("--override-input")
    assert argv[at : at + 3] == ("--override-input", "instance", f"path:{switching.INSTANCE}")
    assert "--override-input" not in switching.switch_argv(Kind.VM)


def test_an_instance_travels_whole_and_becomes_root_s(run_instance: Any) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(tree(run_instance.root)))) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
    assert sorted(entries) == ["generated", "generated/instance.json", "instance.yaml"]
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries.values()} == {(0, 0, "root")}


PATHS = [
    store("glibc-2.42-67"),
    store("glibc-2.42-67-bin"),
    store("agency-0.1.0"),
    store("python3.13-aiohttp-3.12.4"),
    store("unit-agency-control.service"),
    store("bash-interactive-5.3p9"),
]


def test_a_closure_s_packages_have_names_and_versions() -> None:
    seen = closure_packages([*PATHS, PATHS[0]])
    assert seen["system"]["glibc"] == "2.42-67, 2.42-67-bin"
    assert seen["system"]["bash-interactive"] == "5.3p9"
    assert seen["python"] == {"agency": "0.1.0", "aiohttp": "3.12.4"}
    assert "unit-agency-control.service" not in seen["system"]
    assert seen["storePaths"] == len(PATHS)
    assert seen["closure"] == closure_packages(reversed(PATHS))["closure"]
    assert seen["closure"] != closure_packages(PATHS[1:])["closure"]


def test_a_closure_holds_as_evidence_when_it_has_the_agency() -> None:
    many = [store(f"python3.13-lib{number}-1.{number}") for number in range(25)]
    assert holds("guest.packages", closure_packages([*many, *PATHS]))
    assert not holds("guest.packages", closure_packages([*many, *PATHS[3:]]))


def test_a_nixos_image_is_known_by_what_nix_built(system: NixosSystem) -> None:
    image = {
        "kind": "container",
        "kindReason": "it was asked for",
        "system": "nixos",
        "fingerprint": "ab" * 32,
        "recipe": "cd" * 32,
        "incusVersion": "6.0.4",
    }
    assert holds("guest.image", {**image, **system.image_facts()})
    assert not holds("guest.image", image)
    assert not holds("guest.image", {**image, "system": "debian", **system.image_facts()})


def test_programs_are_those_of_the_system_that_runs(system: NixosSystem) -> None:
    assert system.programs.agency == "/run/current-system/sw/bin/agency"
