"""The Nix files are formatted as nixfmt does it, and have nothing unused. Needs no tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("benchmarks", "default.nix", "flake.nix", "hosts", "modules", "packages", "tests/nix")
FILES = sorted(
    file
    for place in PLACES
    for file in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*.nix"))
)


def _run(program: str, crate: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: `cargo install --locked {crate}` brings it")
    files = [str(file) for file in FILES]
    argv = [program, *arguments, *files]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_every_file_is_formatted() -> None:
    result = _run("nixfmt", "nixfmt_rs", "--check")
    assert result.returncode == 0, result.stderr + result.stdout


def test_nothing_is_unused() -> None:
    result = _run("deadnix", "deadnix", "--fail")
    assert result.returncode == 0, result.stdout
