"""What a guest needs is looked at before anything is made, and all that is missing is named."""

import ast
import importlib.util
import os
import sys
from pathlib import Path

import pytest

from agency import programs
from agency.errors import ExitCode, PrerequisiteError
from agency.guests.incus import daemon
from agency.guests.incus.model import Server
from agency.guests.machines.placement import WantedKind
from agency.spinup.suite import requirements
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.needs import Needs
from agency.spinup.targets.incus.system.choice import WantedSystem

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("incus", "age-keygen", "sops", "setpriv", "unshare", "npm", "mmdebstrap")


class Answers:
    """A stand-in for an Incus: what it runs, and which pools it has."""

    def __init__(self, drivers=("lxc",), pools=("agency",), default=None):
        self.drivers, self.names, self.default = drivers, pools, default

    async def server(self):
        return Server("6", self.drivers)

    async def pools(self):
        return dict.fromkeys(self.names, "dir")

    async def root_pool_of_default_profile(self):
        return self.default


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with everything, as root; returns what takes a program away."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in (*PROGRAMS, "nix", "incusd"):
        (place / name).write_text("#!/bin/sh\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv(daemon.DIRECTORY_VARIABLE, str(tmp_path / "incus"))
    monkeypatch.setattr(programs, "_OF_CHECKOUT", tmp_path / "nothing")
    monkeypatch.setattr(daemon, "_PROGRAMS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return lambda *names: [(place / name).unlink() for name in names]


def needs(tmp_path, source=ROOT, **chosen):
    # Which system it will be is said: what is built on the machine that tests is another matter.
    return Needs(Config(**{"system": WantedSystem.DEBIAN, **chosen}), tmp_path / "guest", source)


async def lacks(needs, incus=None):
    with pytest.raises(PrerequisiteError) as caught:
        needs.refuse_lacking_here() if incus is None else await needs.refuse_lacking(incus)
    assert caught.value.exit_code is ExitCode.PREREQUISITE
    return str(caught.value)


async def test_nothing_is_missing(machine, tmp_path):
    needs(tmp_path).refuse_lacking_here()
    await needs(tmp_path).refuse_lacking(Answers())
    await needs(tmp_path, pool="other").refuse_lacking(Answers(pools=("other",)))
    assert not (tmp_path / "guest").exists(), "a look makes nothing"


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_missing_program_is_named_alone_with_what_to_do(name, machine, tmp_path):
    machine(name)
    said = await lacks(needs(tmp_path))
    assert said.startswith(f"PATH: the program '{name}' is not installed\n  hint: install ")
    assert await lacks(needs(tmp_path), Answers()) == said


async def test_a_machine_without_incus(machine, tmp_path):
    machine("incusd")
    assert "Incus is not installed" in await lacks(needs(tmp_path))


async def test_everything_that_is_missing_is_named_at_once(machine, tmp_path, monkeypatch):
    machine(*PROGRAMS, "incusd")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "testinfra" else real(name)
    )
    said = await lacks(needs(tmp_path))
    for name in PROGRAMS:
        assert f"the program '{name}' is not installed" in said
    assert "only root can make a guest" in said
    assert "the suite runs with are missing: testinfra" in said
    assert "Incus is not installed" in said
    assert "make setup-guest" in said
    wanted = needs(tmp_path, pool="it's", kind=WantedKind.VM)
    asked = await lacks(wanted, Answers(pools=("default",)))
    for line in said.splitlines()[1:]:
        if "Incus is not installed" not in line:
            assert line in asked
    assert "it's: there is no such storage pool" in asked
    assert """use one of: default; or make it: incus storage create 'it'"'"'s' dir""" in asked
    assert "no working driver for virtual machines" in asked


@pytest.mark.parametrize(
    ("pools", "default", "said"),
    [
        ((), None, "incus storage create agency dir"),
        (("a", "b"), None, "use one of: a, b; or make it"),
    ],
)
async def test_an_incus_without_a_pool_for_guests(pools, default, said, machine, tmp_path):
    text = await lacks(needs(tmp_path), Answers(pools=pools, default=default))
    assert "Incus has no storage pool for guests" in text
    assert said in text
    await needs(tmp_path).refuse_lacking(Answers(pools=("a",), default="a"))


async def test_what_is_needed_depends_on_what_is_made(machine, tmp_path):
    machine("mmdebstrap")
    await needs(tmp_path, system=WantedSystem.NIXOS).refuse_lacking(Answers())
    machine("nix")
    said = await lacks(needs(tmp_path, system=WantedSystem.NIXOS), Answers())
    assert "'nix' is not installed" in said
    # A virtual machine has a disk, for which the machine here has no programs.
    said = await lacks(needs(tmp_path), Answers(drivers=("lxc", "qemu")))
    assert "make a virtual machine's disk are missing" in said
    assert "'mmdebstrap' is not installed" in said


async def test_a_guest_is_made_from_a_checkout(machine, tmp_path):
    (tmp_path / "package").mkdir()
    said = await lacks(needs(tmp_path, tmp_path / "package"))
    assert "a guest is made from a checkout" in said
    assert "the suite is not there" in said


def test_the_suite_needs_what_only_developers_have(tmp_path, monkeypatch):
    requirements.require_suite(ROOT / "tests" / "guest")
    monkeypatch.setattr(requirements, "PACKAGES", ("pytest", "of_nobody", "of_nowhere"))
    with pytest.raises(PrerequisiteError) as caught:
        requirements.require_suite(ROOT / "tests" / "guest")
    assert "missing: of_nobody, of_nowhere" in str(caught.value)
    assert "make setup-dev" in str(caught.value)


def imported(file: Path) -> set[str]:
    """The packages that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_suite_of_machines_needs_the_libraries_that_a_spin_up_carries_and_no_more():
    """It runs without the tests' own libraries, and pytest reads each conftest.py above it."""
    suite = ROOT / "tests/guest"
    files = [*suite.glob("*.py"), *(each for each in (ROOT / "tests").glob("conftest.py"))]
    needed = set().union(*map(imported, files)) - {each.stem for each in suite.glob("*.py")}
    carried = {"agency", "pytest", "pytest_asyncio", "testinfra", "yaml", "pydantic", "aiohttp"}
    assert needed - set(sys.stdlib_module_names) <= carried
    assert "testinfra" in needed, "it looks"
