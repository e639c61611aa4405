"""The copy of the source has the digested files, and bytecode of these files alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from agency.errors import PrerequisiteError
from agency.source_digest import read_source, source_digest
from agency.spinup.launch.main import is_copied
from agency.spinup.launch.python import make_python
from agency.spinup.launch.source import copy_source, packages_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "pyscripts/agency/part").mkdir(parents=True)
    (place / "pyproject.toml").write_text("")
    (place / ".gitignore").write_text("artifacts/\n__pycache__/\n")
    (place / "pyscripts/agency/__init__.py").write_text("said = 'good'\n")
    (place / "pyscripts/agency/part/__init__.py").write_text("")
    (place / "pyscripts/agency/bad.py").write_text("(\n")
    (place / "run").write_text("#!/bin/sh\n")
    (place / "run").chmod(0o755)
    (place / "link").symlink_to("nowhere")
    (place / "artifacts").mkdir()
    (place / "artifacts/x").write_text("")
    return place


def copied(root: Path, place: Path) -> Path:
    copy_source(root, read_source(root), place, place.parent / "bytecode")
    return packages_of(root, place)


def test_the_copy_has_the_digest_of_the_original(root: Path, tmp_path: Path) -> None:
    packages = copied(root, tmp_path / "copy")
    assert packages == tmp_path / "copy/pyscripts"
    assert source_digest(tmp_path / "copy").sha256 == source_digest(root).sha256
    assert not (tmp_path / "copy/artifacts").exists()
    target = importlib.util.cache_from_source(str(packages / "agency/__init__.py"))
    assert Path(target).is_file()


def test_an_installed_package_is_copied_as_one(root: Path, tmp_path: Path) -> None:
    package = root / "pyscripts/agency"
    packages = copied(package, tmp_path / "copy")
    assert packages == tmp_path / "copy"
    assert source_digest(packages / "agency").sha256 == source_digest(package).sha256


def test_bytecode_is_of_the_content(root: Path, tmp_path: Path) -> None:
    copied(root, tmp_path / "first")
    (root / "pyscripts/agency/__init__.py").write_text("said = 'else'\n")
    for place, said in (("second", "else"), ("third", "else")):
        packages = copied(root, tmp_path / place)
        assert _said(packages) == said


def test_bytecode_that_was_damaged_is_compiled_again(root: Path, tmp_path: Path) -> None:
    copied(root, tmp_path / "first")
    kept = [path for path in (tmp_path / "bytecode").rglob("*-*") if path.is_file()]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes() + b"x")
    assert _said(copied(root, tmp_path / "second")) == "good"


def test_bytecode_that_others_may_write_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bytecode").mkdir()
    (tmp_path / "bytecode").chmod(0o777)
    with pytest.raises(PrerequisiteError, match="others may write"):
        copied(root, tmp_path / "copy")


def _said(packages: Path) -> str:
    argv = [sys.executable, "-S", "-B", "-c", "import agency; print(agency.said)"]
    env = {"PYTHONPATH": str(packages)}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


def test_the_environment_imports_from_its_directories_and_reads_no_pth_there(
    root: Path, tmp_path: Path
) -> None:
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (libraries / "evil.pth").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})\n")
    (libraries / "agency.py").write_text("said = 'evil'\n")
    packages = copied(root, tmp_path / "copy")
    python = make_python(tmp_path / "python", (packages, libraries))
    script = "import agency, sys; print(agency.said, sys.dont_write_bytecode, sys.executable)"
    for flags in ((), ("-I", "-B")):
        argv = [str(python), *flags, "-c", script]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env={})
        assert done.stdout.split() == ["good", "True", str(python)]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "copy"),
    [
        ((), True),
        (("--target", "local"), True),
        (("--target=ssh",), True),
        (("--target", "incus"), False),
        (("--target=incus",), False),
        (("--target",), True),
        (("--help",), False),
        (("-h",), False),
    ],
)
def test_which_runs_are_of_a_copy(arguments: tuple[str, ...], copy: bool) -> None:
    assert is_copied(arguments) is copy
