"""Real instances with real sops and age, below a state directory of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agency import cli

DOMAIN = "agency.example.org"


@dataclass(frozen=True)
class Made:
    """An instance made by `agency init`, and its key."""

    root: Path
    key: Path

    @property
    def encrypted(self) -> Path:
        return self.root / "secrets" / "secrets.yaml"

    def sops(self, *arguments: str) -> None:
        """Run sops on the instance, as its operator."""
        subprocess.run(
            ["sops", *arguments],
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "SOPS_AGE_KEY_FILE": str(self.key)},
            check=True,
            timeout=30,
            capture_output=True,
        )


Agency = Callable[..., int]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the person who runs the tests is read or written."""
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY", "SOPS_AGE_RECIPIENTS"):
        monkeypatch.delenv(name, raising=False)
    # Absent programs are failures here, not skips: these tests are about them.
    assert shutil.which("sops"), "sops is not on PATH: `python3 tools/setup.py tools` gets it"
    assert shutil.which("age-keygen"), "age is not installed"
    return state


@pytest.fixture
def agency() -> Agency:
    def agency(*arguments: str) -> int:
        return cli.run(cli.cli, [str(argument) for argument in arguments], prog_name="agency")

    return agency


@pytest.fixture
def made(tmp_path: Path, own_state: Path, agency: Agency) -> Made:
    root = tmp_path / "acme"
    flags = ("--domain", DOMAIN, "--operator", f"@alice:{DOMAIN}")
    assert agency("init", root, *flags) == 0
    return Made(root, own_state / "agency" / "acme" / "age.key")
