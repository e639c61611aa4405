"""`agency doctor` with real instances, real git and real sops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from repositories import git

Agency = Callable[..., int]
Look = Callable[..., dict[str, Any]]


@pytest.fixture
def look(agency: Agency, capsys: pytest.CaptureFixture[str]) -> Look:
    """Run the doctor and check that its exit status agrees; return its findings by subject."""

    def look(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        status = agency("doctor", *arguments, "--json")
        answer = json.loads(capsys.readouterr().out)
        levels = {one["level"] for one in answer["findings"]}
        assert status == (1 if "bad" in levels else 0)
        assert answer["ok"] == ("bad" not in levels)
        for one in answer["findings"]:
            assert one["remedy"] or one["level"] != "bad", one
        return {one["subject"]: one for one in answer["findings"]}

    return look


def test_an_instance_that_is_well(made: Any, look: Look, agency: Agency, capsys: Any) -> None:
    git(made.root, "init", "-q")
    git(made.root, "add", "-A")
    before = {path: path.stat().st_mtime_ns for path in made.root.rglob("*")}
    found = look(made.root)
    assert {one["level"] for one in found.values()} <= {"ok", "note"}, found
    for subject in ("git", "sops", "age-keygen", "state", "locks", "loopback", "instance"):
        assert found[subject]["level"] == "ok", found[subject]
    assert found["age key"]["message"] == "opens the secrets on this machine"
    assert found["local agency"]["message"] == "does not run"
    assert {path: path.stat().st_mtime_ns for path in made.root.rglob("*")} == before
    assert agency("doctor", made.root) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 0 to mend")


def test_without_an_instance(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = look()
    assert found["instance"]["level"] == "note"
    assert "agency init DIR" in found["instance"]["remedy"]
    assert "age key" not in found


def test_what_nix_would_not_see(made: Any, look: Look) -> None:
    assert look(made.root)["git"]["level"] == "note"  # in no repository
    git(made.root, "init", "-q")
    (made.root / ".gitignore").write_text("generated/\n")
    git(made.root, "add", "-A")
    one = look(made.root)["git"]
    assert one["level"] == "bad"
    assert "generated/control.json" in one["message"]
    assert "not tracked, so that Nix does not see it" in one["message"]
    subprocess.run(one["remedy"], shell=True, check=True, timeout=60)
    assert look(made.root)["git"]["level"] == "ok"


def test_a_repository_runs_no_program_of_its_own(made: Any, look: Look, tmp_path: Path) -> None:
    git(made.root, "init", "-q")
    program, ran = tmp_path / "program", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    git(made.root, "config", "core.fsmonitor", str(program))
    git(made.root, "config", "diff.x.textconv", str(program))
    (made.root / ".git" / "info" / "attributes").write_text("* diff=x filter=x\n")
    git(made.root, "config", "filter.x.clean", str(program))
    git(made.root, "-c", "core.fsmonitor=false", "-c", "filter.x.clean=cat", "add", "-A")
    ran.unlink(missing_ok=True)
    assert look(made.root)["git"]["level"] == "ok"
    assert not ran.exists()
    # The positive control: git itself runs it.
    subprocess.run(["git", "status"], cwd=made.root, capture_output=True, timeout=60)
    assert ran.exists()


def test_a_private_key_in_git(made: Any, look: Look) -> None:
    git(made.root, "init", "-q")
    shutil.copy(made.key, made.root / "notes.txt")
    git(made.root, "add", "-A")
    one = look(made.root)[str(made.root / "notes.txt")]
    assert one["level"] == "bad"
    assert "private age key" in one["message"]
    assert made.key.read_text().splitlines()[-1] not in json.dumps(one)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_repository_of_another_user(
    made: Any, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("SUDO_UID", raising=False)
    git(made.root, "init", "-q")
    for path in (made.root, made.root / ".git"):
        os.chown(path, 54321, 54321)
    one = look(made.root)["git"]
    assert one["level"] == "bad"
    assert "safe.directory" in one["remedy"]


def test_a_stale_render_and_a_link_in_its_place(made: Any, look: Look) -> None:
    control = made.root / "generated" / "control.json"
    control.write_text("{}")
    one = look(made.root)[str(control)]
    assert (one["level"], "run `agency render`" in one["message"]) == ("bad", True)

    (made.root / "generated").rename(made.root / "real")
    (made.root / "generated").symlink_to("real")
    one = look(made.root)[str(made.root / "generated")]
    assert (one["level"], "is a link to real" in one["message"]) == ("bad", True)
    assert one["remedy"] == f"rm {made.root}/generated && agency render {made.root}"


def test_a_key_that_is_missing_or_of_another(made: Any, look: Look, tmp_path: Path) -> None:
    one = look(made.root, "--age-key", tmp_path / "none")["age key"]
    assert one["level"] == "bad"
    assert "this machine has no age key" in one["message"]
    made.key.chmod(0o644)
    one = look(made.root)["age key"]
    assert (one["level"], "chmod 600" in one["message"]) == ("note", True)
    subprocess.run(["age-keygen", "-o", str(tmp_path / "other")], check=True, capture_output=True)
    one = look(made.root, "--age-key", tmp_path / "other")["age key"]
    assert "no age key of this machine opens it" in one["message"]


def test_an_instance_that_cannot_be_read(look: Look, tmp_path: Path) -> None:
    (tmp_path / "instance.yaml").write_text("version: 1\nname: x\n")
    found = look(tmp_path)
    place = f"{tmp_path}/instance.yaml:1"
    assert "is missing" in found[place]["message"]
    assert found[place]["remedy"] == f"agency check {tmp_path}"


def test_a_local_agency_that_is_kept(
    look: Look, own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (own_state / "agency" / "local" / "up-x").mkdir(parents=True)
    one = look()["local agency"]
    assert (one["level"], one["remedy"]) == ("note", "agency up")
