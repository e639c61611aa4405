"""Programs that stand in for those of Nix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = """\
#!/bin/sh
printf '%s\\n' "$@" > {record}
{ending}
"""


@pytest.fixture
def nix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a program on PATH that records its arguments; returns the record."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def install(name: str, ending: str) -> Path:
        record = tmp_path / f"{name}.record"
        (programs / name).write_text(FAKE.format(record=record, ending=ending))
        (programs / name).chmod(0o755)
        return record

    return install
