"""The base store offers its names lazily, and knows nothing of whoever keeps state in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agency.store

FOLDER = Path(agency.store.__file__).parent


@pytest.mark.parametrize("name", agency.store.__all__)
def test_public_name_is_there(name: str) -> None:
    assert getattr(agency.store, name) is not None


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="outbox"):
        _ = agency.store.outbox


def test_importing_it_loads_no_engine() -> None:
    code = "import agency.store, sys; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.name)
def test_it_imports_no_feature(file: Path) -> None:
    imported = {
        node.module
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agency")
    }
    base = {"agency.errors", "agency.locks"}
    assert imported <= base | {*(f"agency.store.{f.stem}" for f in FOLDER.glob("*.py"))}
