"""`agency reconcile`: exit statuses, what it prints, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agency.commandline.main import run
from agency.reconcile.commands import reconcile
from agency.reconcile.engine.lock import lock_dir
from agency.reconcile.engine.registry import RECONCILERS


def call(*arguments: str) -> int:
    return run(reconcile, arguments, prog_name="agency reconcile")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings of agent-workspaces for an agent that is the user who runs the tests."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    # git as another user must be able to come here, unlike into pytest's own directories
    homes = Path(tempfile.mkdtemp(prefix="agency-homes-"))
    homes.chmod(0o755)
    identity = os.geteuid() or 24242
    file = tmp_path / "settings.json"
    told = {
        "domain": "agency.example",
        "operators": ["@alice:agency.example"],
        "agents": [
            {
                "name": "pm", "role": "pm", "fullName": "Petra", "matrixId": "@agent-pm:x.example",
                "uid": identity, "gid": os.getegid() or 24242, "home": str(homes / "pm"),
            }
        ],
    }  # fmt: skip
    file.write_text(json.dumps(told))
    yield file
    shutil.rmtree(homes)


def test_lists_every_reconciler_and_imports_none(capsys):
    assert call("--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == list(RECONCILERS)
    assert call("--list") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in RECONCILERS)


def test_a_whole_life_check_run_run_check(settings, capsys):
    arguments = ("agent-workspaces", "--config", str(settings))
    assert call(*arguments, "--check", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "drift"
    assert told["pending"][0] == {
        "part": "agent pm", "what": "pm directory", "from": "absent", "to": "made",
    }  # fmt: skip
    assert call(*arguments) == 0
    assert "changed agent pm: pm directory: absent -> made" in capsys.readouterr().out
    assert call(*arguments) == 0
    assert capsys.readouterr().out == "agent-workspaces: nothing differs\n"
    assert call(*arguments, "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "unchanged"


def test_a_blocked_change_is_told_with_its_reason_and_hint(settings, capsys):
    home = json.loads(settings.read_text())["agents"][0]["home"]
    Path(home).symlink_to("/nonexistent")
    arguments = ("agent-workspaces", "--config", str(settings))
    assert call(*arguments) == 1
    told = capsys.readouterr().out
    assert "failed  agent pm" in told
    assert "neither followed nor removed" in told
    assert "hint: examine it" in told
    assert call(*arguments, "--check") == 1
    assert "hint: examine it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ((), 2, "no reconciler is named"),
        (("nothing",), 2, "there is no reconciler 'nothing'"),
        (("--list", "swarm-init"), 2, "--list takes no name"),
        (("swarm-init", "--config", "/nonexistent.json"), 3, "cannot read the settings"),
        (("swarm-init", "--timeout", "0", "--list"), 2, "timeout"),
    ],
)
def test_wrong_calls_end_with_their_status(arguments, status, told, capsys):
    assert call(*arguments) == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "settings"),
        ('{"advertiseAddress": "nonsense"}', "advertiseAddress"),
        ('{"advertiseAddress": "127.0.0.1", "advertise_addres": "x"}', "advertise_addres"),
    ],
)
def test_wrong_settings_are_said_with_their_field(tmp_path, text, told, capsys):
    file = tmp_path / "settings.json"
    file.write_text(text)
    assert call("swarm-init", "--config", str(file)) == 1
    assert told in capsys.readouterr().err


def test_no_docker_engine_is_exit_status_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    file = tmp_path / "settings.json"
    url = f"unix://{tmp_path}/no.sock"
    file.write_text(json.dumps({"advertiseAddress": "127.0.0.1", "dockerUrl": url}))
    assert call("swarm-init", "--config", str(file), "--json") == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["exit_code"] == 3
    assert "systemctl start docker" in error["hint"]


def test_help_imports_no_client_of_any_service():
    """The command is imported to show its help; what a reconciler needs is not."""
    code = (
        "import sys; from agency.reconcile.commands import reconcile; "
        "print([m for m in ('aiodocker', 'gitlab', 'mautrix', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_lock_is_where_no_other_user_can_hold_it(monkeypatch):
    assert lock_dir("x", {"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == Path("/run/a")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lock_dir("x", {}) == Path("/run/agency-reconcile-x")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert lock_dir("x", {"XDG_STATE_HOME": "/s"}) == Path("/s/agency/reconcile/x")
