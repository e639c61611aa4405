"""An option that the target has no use for means that another target was meant."""

import json

import pytest

from agency import cli
from agency.spinup.cli import spinup_smoke


@pytest.mark.parametrize(
    ("arguments", "option", "meant"),
    [
        (["--host", "root@server"], "--host", "ssh"),
        (["--target", "local", "--keep"], "--keep", "incus"),
        (["--password-file", "x"], "--password-file", "ssh"),
        (["--suite-timeout", "9"], "--suite-timeout", "incus or ssh"),
        (["--target", "incus", "--host", "root@server"], "--host", "ssh"),
        (["--target", "incus", "--no-namespace"], "--namespace or --no-namespace", "local"),
        (["--target", "incus", "--no-read-only"], "--read-only or --no-read-only", "ssh"),
        (["--target", "ssh", "--host", "root@server", "--keep"], "--keep", "incus"),
        (["--target", "ssh", "--host", "root@server", "--port", "control=9"], "--port", "local"),
    ],
)
def test_an_option_of_another_target_is_refused(arguments, option, meant, capsys, tmp_path):
    transcript = tmp_path / "transcript.json"
    given = [*arguments, "--output", str(transcript), "--json"]
    assert cli.run(spinup_smoke, given, prog_name="spinup_smoke") == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["kind"], error["where"]) == ("UsageError", option)
    assert error["hint"] == f"leave it out, or say --target {meant}"
    assert not transcript.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "local", "--no-namespace", "--port", "control=9"],
        ["--target", "incus", "--keep", "--suite-timeout", "9", "--memory", "512"],
        ["--target", "ssh", "--host", "root@server", "--suite-timeout", "9"],
    ],
)
def test_a_targets_own_options_are_understood(arguments, capsys, tmp_path):
    # It ends at the next thing that is looked at: an instance that is not there.
    given = [*arguments, "--instance", str(tmp_path / "none"), "--json"]
    given += ["--output", str(tmp_path / "transcript.json")]
    assert cli.run(spinup_smoke, given, prog_name="spinup_smoke") != 2
    assert str(tmp_path / "none") in capsys.readouterr().err
