"""The console script that set-up writes runs the sources, and nothing beside them."""

from __future__ import annotations

import importlib.util
import py_compile
import subprocess
import sys
from pathlib import Path

import launcher
import pytest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An environment and a checkout whose program says what it is."""
    main = tmp_path / "root/pyscripts/agency/spinup/launch/main.py"
    main.parent.mkdir(parents=True)
    for package in (main.parents[2], main.parents[1], main.parent):
        (package / "__init__.py").write_text("")
    main.write_text("import sys\n\n\ndef main():\n    print('good', sys.argv[1:], sys.flags)\n")
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "venv/bin/spinup_smoke").write_text("pip's")
    launcher.write(tmp_path / "venv", tmp_path / "root")
    return tmp_path


def ran(place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [str(place / "venv/bin/spinup_smoke"), "--json"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, env=environment)


def test_it_runs_isolated(place: Path) -> None:
    said = ran(place, PYTHONPATH=str(place)).stdout
    assert said.startswith("good ['--json']")
    for flag in ("isolated=1", "no_site=1", "dont_write_bytecode=1"):
        assert flag in said


def test_bytecode_beside_the_sources_is_not_taken(place: Path) -> None:
    main = place / "root/pyscripts/agency/spinup/launch/main.py"
    evil = place / "evil.py"
    evil.write_text("def main():\n    print('evil')\n")
    target = importlib.util.cache_from_source(str(main))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), target, str(main), True, invalidation_mode=mode)
    assert ran(place).stdout.startswith("good")
    argv = [sys.executable, "-c", "from agency.spinup.launch.main import main; main()"]
    control = subprocess.run(
        argv, capture_output=True, text=True, env={"PYTHONPATH": str(place / "root/pyscripts")}
    )
    assert control.stdout == "evil\n", "Python alone would have taken it"


@pytest.mark.parametrize("shadow", ["spinup/launch/main/__init__.py", "spinup.py"])
def test_of_a_module_and_a_package_of_one_name_neither_runs(place: Path, shadow: str) -> None:
    path = place / "root/pyscripts/agency" / shadow
    path.parent.mkdir(exist_ok=True)
    path.write_text("def main():\n    print('evil')\n")
    done = ran(place)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "are both there" in done.stderr


def test_writing_it_again_changes_nothing(place: Path) -> None:
    script = place / "venv/bin/spinup_smoke"
    before = script.stat()
    launcher.write(place / "venv", place / "root")
    assert script.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o755
