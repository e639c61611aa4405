"""Completion: names at once, and the values that an option takes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agency.cli import COMMANDS
from agency.instance.making.ask import SERVICES


def complete(line: str, *, code: str = "from agency.cli import main; main()") -> list[str]:
    """Return the completions that bash gets for the line."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "_AGENCY_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert done.returncode == 0, done.stderr
    return [one.partition(",")[2] for one in done.stdout.splitlines()]


def test_names_of_commands() -> None:
    assert complete("agency ") == list(COMMANDS)
    assert complete("agency s") == [name for name in COMMANDS if name.startswith("s")]
    assert "--help" in complete("agency -")
    assert "rekey" in complete("agency secrets re")


def test_they_are_told_without_importing_a_command() -> None:
    heavy = "{'pydantic', 'yaml', 'rich', 'aiohttp', 'sqlalchemy'}"
    code = (
        "import sys; from agency.cli import cli, run\n"
        "status = run(cli, [], prog_name='agency')\n"
        f"print('plain,' + str(sorted({heavy} & set(sys.modules))))\n"
    )
    # Completion ends the process, so that the look at the modules is at its end.
    code = (
        code.replace("status = run(cli, [], prog_name='agency')\n", "")
        .replace("print(", "import atexit; atexit.register(lambda: print(")
        .replace(")))\n", "))))\n")
        + "raise SystemExit(run(cli, [], prog_name='agency'))"
    )
    assert complete("agency ", code=code)[-1] == "[]"


@pytest.mark.parametrize("typed", ["", "e", "tr"])
def test_services_of_init(typed: str) -> None:
    wanted = [name for name in SERVICES if name.startswith(typed)]
    assert complete(f"agency init x --enable {typed}") == wanted
