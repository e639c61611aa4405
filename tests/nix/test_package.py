"""The Nix package on its own: its files, and the programs on its path, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wheels

from agency.secrets.catalogue import CATALOGUE, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json
from agency.secrets.catalogue import load_catalogue, catalogue_file
print(json.dumps([str(catalogue_file()), sorted(load_catalogue().secrets)]))
"""
# Programs that the agency calls, by the package of nixpkgs that brings them.
BRINGS = {
    "age": ("age", "age-keygen"),
    "coreutils": ("cp", "env"),
    "git-minimal": ("git",),
    "openssh": ("ssh",),
    "sops": ("sops",),
    "util-linux": ("prlimit", "setpriv", "unshare"),
}
SPIN_UP_S = 150
LAUNCHER = """
import sys
sys.path[:0] = sys.argv[1].split(":")
del sys.argv[:2]
from agency.spinup.launch.main import main
main()
"""


def _copied(stored: Path, target: Path) -> Path:
    shutil.copytree(
        stored, target, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__")
    )
    for directory in (target, *(one for one in target.rglob("*") if one.is_dir())):
        directory.chmod(0o755)
    return target


@pytest.fixture(scope="module")
def wheel(
    snapshot: Path, evaluate: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheel of what Nix puts into the store; its builder is pip on these sources."""
    package = ("-A", "packages.agency.src", "--read-write-mode")
    stored = Path(evaluate(snapshot / "default.nix", *package))
    assert (stored / CATALOGUE).read_bytes() == (ROOT / CATALOGUE).read_bytes()
    place = tmp_path_factory.mktemp("package")
    return wheels.build(_copied(stored, place / "source"), place)


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    return wheels.install(wheel, wheel.parents[1])


@pytest.fixture
def alone(report: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """An environment with the programs of the package's own path."""
    path = tmp_path / "path"
    path.mkdir()
    search = os.pathsep.join([str(ROOT / ".tools/bin"), os.environ["PATH"]])
    for package in report["entry"]["package"]["programs"]:
        for program in BRINGS[package]:
            found = shutil.which(program, path=search)
            assert found, f"{program} is not installed: `make setup-tools` brings sops and age"
            (path / program).symlink_to(found)
    return {"PATH": str(path), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(
    python: Path, environment: dict[str, str], *argv: str, cwd: Path, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(python.parent / argv[0]), *argv[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_it_has_the_catalogue(python: Path, tmp_path: Path) -> None:
    file, names = json.loads(wheels.run(str(python), "-c", PROGRAM, cwd=tmp_path))
    assert Path(file).is_relative_to(python.parents[1])
    assert names == sorted(load_catalogue().secrets)


def test_it_carries_every_file_that_the_checkout_s_wheel_has(
    snapshot: Path, wheel: Path, tmp_path: Path
) -> None:
    """The globs of pyproject.toml decide both; one that Nix does not read would show here."""
    other = wheels.build(_copied(snapshot, tmp_path / "source"), tmp_path)
    carried, wanted = zipfile.ZipFile(wheel).namelist(), zipfile.ZipFile(other).namelist()
    assert sorted(carried) == sorted(wanted)
    for suffix in (".mjs", ".j2", ".pyi", ".json", "py.typed"):
        assert any(name.endswith(suffix) for name in carried), suffix


def test_it_makes_and_checks_an_instance(
    python: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    """The first commands of docs/install.md, with nothing on the path but what it brings."""
    instance, key = tmp_path / "mine", tmp_path / "agency.key"
    flags = ("--domain", "agency.example.org", "--operator", "@alice:agency.example.org")
    _run(python, alone, "agency", "init", "mine", *flags, "--age-key", str(key), cwd=tmp_path)
    assert (instance / "flake.nix").is_file()
    _run(python, alone, "agency", "check", str(instance), cwd=tmp_path)
    opened = alone | {"SOPS_AGE_KEY_FILE": str(key)}
    _run(python, opened, "agency", "check", "--decrypt", str(instance), cwd=tmp_path)
    _run(python, opened, "agency", "secrets", "doctor", str(instance), cwd=tmp_path)


def test_that_needs_what_is_on_its_path(
    python: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    """The negative control: without sops the first command says what is missing."""
    (Path(alone["PATH"]) / "sops").unlink()
    flags = ("--domain", "agency.example.org", "--operator", "@alice:agency.example.org")
    argv = [str(python.parent / "agency"), "init", "mine", *flags]
    done = subprocess.run(argv, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "sops" in done.stderr


@pytest.mark.timeout(SPIN_UP_S + 60)
def test_it_spins_an_agency_up(python: Path, alone: dict[str, str], tmp_path: Path) -> None:
    """No virtual environment, as in Nix: directories on the path of a Python without site."""
    (own,) = (python.parents[1] / "lib").glob("python*/site-packages")
    launcher = tmp_path / "launch.py"
    launcher.write_text(LAUNCHER)
    base = Path(getattr(sys, "_base_executable", sys.executable))
    done = subprocess.run(
        [
            *(str(base), "-S", "-B", str(launcher)),
            *(f"{own}:{sysconfig.get_path('purelib')}", str(python.parent / "spinup_smoke")),
            *("--instance", str(ROOT / "instance"), "--target", "local"),
        ],
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
        timeout=SPIN_UP_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "result: PASSED" in done.stdout
