"""The Nix package is built from sources that hold the catalogue of secrets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wheels

from agency.secrets.catalogue import CATALOGUE, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json
from agency.secrets.catalogue import load_catalogue, catalogue_file
print(json.dumps([str(catalogue_file()), sorted(load_catalogue().secrets)]))
"""


def test_what_it_is_built_from_gives_a_wheel_with_the_catalogue(
    snapshot: Path, evaluate: Callable[..., Any], tmp_path: Path
) -> None:
    """Its builder is pip on these sources, which runs here on what Nix puts into the store."""
    package = ("-A", "packages.agency.src", "--read-write-mode")
    stored = Path(evaluate(snapshot / "default.nix", *package))
    assert (stored / CATALOGUE).read_bytes() == (ROOT / CATALOGUE).read_bytes()
    source = tmp_path / "source"
    shutil.copytree(stored, source, copy_function=shutil.copyfile)
    for directory in (source, *(one for one in source.rglob("*") if one.is_dir())):
        directory.chmod(0o755)
    python = wheels.install(wheels.build(source, tmp_path), tmp_path)
    file, names = json.loads(wheels.run(str(python), "-c", PROGRAM, cwd=tmp_path))
    assert Path(file).is_relative_to(tmp_path / "venv")
    assert names == sorted(load_catalogue().secrets)
