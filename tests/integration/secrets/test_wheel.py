"""The catalogue of secrets goes with the program, however it is installed."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import wheels

from agency.secrets.catalogue import CATALOGUE, load_catalogue
from agency.source_digest import source_files

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json
from agency.secrets.catalogue import load_catalogue, catalogue_file
from agency.spinup.program import this_program
print(json.dumps({
    "file": str(catalogue_file()),
    "names": sorted(load_catalogue().secrets),
    "program": this_program().files,
}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is built from."""
    copy = tmp_path_factory.mktemp("source") / "agency"
    for name in source_files(ROOT):
        if name.startswith(("pyscripts/", "secrets/")) or "/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    return copy


def test_the_wheel_carries_it(source: Path, tmp_path: Path) -> None:
    python = wheels.install(wheels.build(source, tmp_path), tmp_path)
    seen = json.loads(wheels.run(str(python), "-c", PROGRAM, cwd=tmp_path))
    file = Path(seen["file"])
    assert file.is_relative_to(tmp_path / "venv")
    assert file.read_bytes() == (ROOT / CATALOGUE).read_bytes()
    assert seen["names"] == sorted(load_catalogue().secrets)
    # Installed or not, it is the same program.
    here = json.loads(wheels.run(sys.executable, "-c", PROGRAM, cwd=tmp_path))
    assert Path(here["file"]) == ROOT / CATALOGUE
    assert here["program"] == seen["program"]
    assert CATALOGUE in seen["program"]


def test_an_editable_install_reads_its_own_checkouts(source: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(source, checkout)
    wheels.build_by("build_editable", checkout, tmp_path)
    (wheel,) = tmp_path.glob("agency-*editable*.whl")
    python = wheels.install(wheel, tmp_path)
    seen = json.loads(wheels.run(str(python), "-c", PROGRAM, cwd=tmp_path))
    assert Path(seen["file"]) == checkout / CATALOGUE
    assert not list((checkout / "pyscripts").rglob("catalogue.json"))


def test_a_wheel_without_it_says_so(source: Path, tmp_path: Path) -> None:
    python = wheels.install(wheels.build(source, tmp_path), tmp_path)
    program = "from agency.secrets.catalogue import catalogue_file; catalogue_file().unlink()"
    wheels.run(str(python), "-c", program, cwd=tmp_path)
    program = f"import sys; sys.argv = ['agency', 'secrets', 'list', {str(ROOT / 'instance')!r}]\n"
    program += "from agency.cli import main\ntry: main()\nexcept SystemExit as end: print(end.code)"
    assert wheels.run(str(python), "-c", program, cwd=tmp_path).strip().endswith("3")


def test_a_source_distribution_holds_what_the_wheel_needs(source: Path, tmp_path: Path) -> None:
    wheels.build_by("build_sdist", source, tmp_path)
    (archive,) = tmp_path.glob("agency-*.tar.gz")
    wheels.run("tar", "xzf", str(archive), cwd=tmp_path)
    (unpacked,) = (one for one in tmp_path.glob("agency-*") if one.is_dir())
    with zipfile.ZipFile(wheels.build(unpacked, tmp_path)) as wheel:
        assert wheel.read(f"agency/{CATALOGUE}") == (ROOT / CATALOGUE).read_bytes()
