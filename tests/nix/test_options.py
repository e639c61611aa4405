"""The options reference is what the modules declare, and every option is described."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/options.md"


def test_the_reference_is_current(snapshot: Path) -> None:
    argv = [sys.executable, str(ROOT / "tools/options.py"), "--check"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_every_option_says_what_it_is() -> None:
    entries = re.split(r"^### ", PAGE.read_text(), flags=re.M)[1:]
    assert len(entries) > 150
    for entry in entries:
        name, text = entry.split("\n", 1)
        described = text.strip().split("\n- type: ")[0].strip()
        assert described.endswith((".", "`")), name
        assert "\n- type: " in text, name


def test_it_names_no_instance_and_no_machine() -> None:
    text = PAGE.read_text()
    assert "/nix/store" not in text
    assert str(ROOT) not in text
    assert "agency.example`" not in text
