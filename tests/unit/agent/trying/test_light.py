"""Commands for people cost an agent that runs nothing."""

from __future__ import annotations

import subprocess
import sys


def test_the_commands_of_agents_import_no_part_of_a_trial() -> None:
    program = (
        "import sys, agency.agent.commands\n"
        "print(*(name for name in sys.modules if name.startswith('agency.agent.')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "agency.agent.trying.commands" in said
    for part in ("trying", "scripted", "explaining"):
        inside = {name for name in said if name.startswith(f"agency.agent.{part}.")}
        assert inside == {f"agency.agent.{part}.commands"}
