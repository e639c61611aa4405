"""Standard streams as a shell or a supervisor leaves them, with real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

AGENCY = f"{sys.executable} -m agency"
BAD = "version: 2\n"
# A user's shell does not set it, and what stays in a buffer fails when Python ends.
USUAL = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    (tmp_path / "instance.yaml").write_text(BAD)
    return tmp_path


def shell(script: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script.replace("agency", AGENCY, 1)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**USUAL, "XDG_STATE_HOME": str(cwd / "state"), **environ},
    )


@pytest.mark.parametrize("command", ["schema", "--help", "check .", "check . --json", "version"])
def test_a_reader_that_goes_is_told_as_by_other_programs(instance: Path, command: str) -> None:
    """141, not 1: 1 says that the thing checked is bad."""
    done = shell(f"agency {command} | true", instance)
    assert (done.returncode, done.stderr) == (141, "")
    # The positive control.
    done = shell(f"agency {command} | cat", instance)
    assert done.returncode == (1 if "check" in command else 0)


@pytest.mark.parametrize("command", ["schema", "--help", "check .", "check . --json"])
def test_a_full_disk_is_told(instance: Path, command: str) -> None:
    done = shell(f"agency {command} >/dev/full", instance)
    assert done.returncode == 3
    assert "standard output" in done.stderr
    assert "No space left on device" in done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize("command", ["schema", "--help", "check .", "render .", "doctor"])
def test_a_closed_output_is_told_before_anything_is_done(instance: Path, command: str) -> None:
    done = shell(f"agency {command} >&-", instance)
    assert done.returncode == 3
    assert "standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (instance / "generated").exists()


def test_a_closed_output_for_programs(instance: Path) -> None:
    done = shell("agency check . --json >&-", instance)
    assert json.loads(done.stderr)["error"]["kind"] == "PrerequisiteError"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("agency check . <&-", 1),
        ("agency init x --domain a.example <&-", 2),
        ("agency check . 2>&-", 1),
        ("agency render . 2>&-", 1),
        ("agency render . 2>/dev/full", 1),
        ("agency render --nope 2>/dev/full", 2),
        ("agency render --nope 2>&-", 2),
        ("agency check . <&- >&- 2>&-", 3),
    ],
)
def test_the_other_streams_change_nothing(instance: Path, script: str, status: int) -> None:
    done = shell(script, instance)
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Messages to standard error must not land in a file that the program opens."""
    code = (
        "import os, click; from agency.commandline import run\n"
        "@click.command()\n"
        "def it():\n"
        "    print(os.open('f', os.O_WRONLY | os.O_CREAT) > 2)\n"
        "raise SystemExit(run(it, [], prog_name='it'))\n"
    )
    script = f'{sys.executable} -c "$CODE" <&- 2>&-'
    done = shell(script, tmp_path, CODE=code)
    assert (done.returncode, done.stdout) == (0, "True\n")


@pytest.mark.parametrize("flags", ["", " --json"])
@pytest.mark.parametrize(
    "environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_any_name_can_be_shown(tmp_path: Path, flags: str, environ: dict[str, str]) -> None:
    (tmp_path / "ü").mkdir()
    done = shell(f"agency check ü{flags}", tmp_path, **environ)
    assert done.returncode == 1
    if flags:
        (problem,) = json.loads(done.stdout)["problems"]
        # Without UTF-8 Python has the bytes of a name as surrogates.
        shown = problem["file"].encode("utf-8", "surrogateescape").decode()
        assert shown == "ü/instance.yaml"
    else:
        assert re.match(r"\\\S+/instance.yaml: there is no such file", done.stdout)


def test_a_name_that_is_no_utf8_can_be_shown(tmp_path: Path) -> None:
    done = shell("agency check $'\\xff'", tmp_path)
    assert done.returncode == 1
    assert "no such file" in done.stdout
    done = shell("agency check $'\\xff' --json", tmp_path)
    assert json.loads(done.stdout)["problems"][0]["file"] == "\udcff"


@pytest.mark.parametrize(
    ("typed", "meant"), [("chek", "check"), ("secret", "secrets"), ("docter", "doctor")]
)
def test_the_nearest_command_is_named(tmp_path: Path, typed: str, meant: str) -> None:
    done = shell(f"agency {typed}", tmp_path)
    assert done.returncode == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in done.stderr
    assert "Did you mean" not in shell("agency xyzzy", tmp_path).stderr
