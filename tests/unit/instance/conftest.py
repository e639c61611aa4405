"""Instances for the tests of loading and rendering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agency.instance.load import LoadedInstance, load_instance

GOOD = """\
version: 1
name: test
domain: agency.example
operators:
  - "@alice:agency.example"
agents:
  pm:
    role: pm
  developer:
    role: developer
secrets:
  provider: ephemeral
"""

Write = Callable[[str], Path]


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an instance.yaml and return its directory."""

    def write(text: str) -> Path:
        (tmp_path / "instance.yaml").write_text(text)
        return tmp_path

    return write


@pytest.fixture
def loaded(write: Write) -> LoadedInstance:
    return load_instance(write(GOOD))
