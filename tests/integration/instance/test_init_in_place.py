"""`agency init` in a directory that is there: the one of a shell, and a fresh clone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from repositories import git

from agency.instance.making import place

Agency = Callable[..., int]
FLAGS = ("--domain", "agency.example.org", "--operator", "@alice:agency.example.org")


def content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone as a forge makes one: with a README and a .gitignore."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / "README.md").write_text("mine")
    (origin / ".gitignore").write_text("*.swp\n*.key")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "first")
    git(tmp_path, "clone", "-q", str(origin), "acme")
    return tmp_path / "acme"


def test_in_the_directory_of_a_shell(tmp_path: Path) -> None:
    """The directory under the shell stays the same one."""
    here = tmp_path / "acme"
    here.mkdir()
    before = here.stat().st_ino
    argv = [sys.executable, "-m", "agency"]
    script = (
        "import os, subprocess, sys\n"
        "subprocess.run([*sys.argv[1:4], 'init', '.', *sys.argv[4:]], check=True)\n"
        "print(sorted(os.listdir('.')))\n"
        "subprocess.run([*sys.argv[1:4], 'check', '.'], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *argv, *FLAGS],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "'instance.yaml'" in done.stdout
    assert "nothing is wrong" in done.stdout
    assert here.stat().st_ino == before
    assert "name: acme\n" in (here / "instance.yaml").read_text()


def test_in_a_fresh_clone(clone: Path, agency: Agency) -> None:
    assert agency("init", clone, *FLAGS) == 0
    assert agency("check", clone) == 0
    assert (clone / "README.md").read_text() == "mine"
    lines = (clone / ".gitignore").read_text().splitlines()
    assert lines == ["*.swp", "*.key", "# Private keys never belong in git.", "*.age"]
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "an instance")
    assert git(clone, "status", "--porcelain") == ""


def test_the_facts_of_a_machine_that_is_there_stay(clone: Path, agency: Agency) -> None:
    """An operator's host.nix is no file of an instance: it is kept, and the flake comes to it."""
    (clone / "host.nix").write_text("{ }\n")
    key = clone.parent / "agency.key"
    assert agency("init", clone, *FLAGS, "--age-key", key) == 0
    assert (clone / "host.nix").read_text() == "{ }\n"
    assert "nixosConfigurations.agency" in (clone / "flake.nix").read_text()


def test_git_changes_no_line_ends(clone: Path, agency: Agency) -> None:
    """A checkout with autocrlf is byte for byte the commit."""
    assert agency("init", clone, *FLAGS) == 0
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "an instance")
    other = clone.parent / "other"
    git(clone.parent, "-c", "core.autocrlf=true", "clone", "-q", str(clone), "other")
    changed = {".gitignore", "README.md", ".gitattributes", "flake.nix", "host.nix"}
    before, after = content(clone), content(other)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= changed
    assert agency("check", other) == 0


def test_the_editor_finds_a_schema_that_fits(tmp_path: Path, agency: Agency) -> None:
    root = tmp_path / "acme"
    assert agency("init", root, *FLAGS) == 0
    text = (root / "instance.yaml").read_text()
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    schema = yaml.safe_load((root / first.partition("=")[2]).read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("instance.yaml", "instance.yaml"),
        ("generated/x", "generated"),
        ("secrets/secrets.yaml", "secrets/secrets.yaml"),
        (".sops.yaml", ".sops.yaml"),
    ],
)
def test_what_would_be_overwritten_is_named_and_stays(
    clone: Path,
    own_state: Path,
    agency: Agency,
    capsys: pytest.CaptureFixture[str],
    made: str,
    named: str,
) -> None:
    (clone / made).parent.mkdir(exist_ok=True)
    (clone / made).write_text("mine")
    before = content(clone)
    assert agency("init", clone, *FLAGS) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"it has {named} already" in said
    assert content(clone) == before
    assert not list(own_state.rglob("*.key"))


def test_a_link_in_the_way_of_a_line_is_not_followed(
    clone: Path, tmp_path: Path, agency: Agency
) -> None:
    (clone / ".gitattributes").symlink_to(tmp_path / "elsewhere")
    assert agency("init", clone, *FLAGS) == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("last", range(4))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_takes_everything_back(
    clone: Path,
    own_state: Path,
    agency: Agency,
    monkeypatch: pytest.MonkeyPatch,
    last: int,
    error: BaseException,
) -> None:
    before, real, left = content(clone), place._put, [last]

    def put(*arguments: Any) -> None:
        if left[0] == 0:
            raise error
        left[0] -= 1
        real(*arguments)

    monkeypatch.setattr(place, "_put", put)
    assert agency("init", clone, *FLAGS) in {3, 130}
    assert content(clone) == before
    assert {path.name for path in clone.iterdir()} == {".git", ".gitignore", "README.md"}
    assert not list(own_state.rglob("*.key"))


def test_a_file_that_appears_in_the_meantime_is_kept(
    clone: Path, agency: Agency, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = place._put

    def put(source: Path, target: Path, undo: Any) -> None:
        if target.name == "instance.yaml":
            target.write_text("mine")
        real(source, target, undo)

    monkeypatch.setattr(place, "_put", put)
    assert agency("init", clone, *FLAGS) == 3
    assert (clone / "instance.yaml").read_text() == "mine"
    assert not (clone / "secrets").exists()


def test_a_read_only_directory_is_named(clone: Path, agency: Agency) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/self")
        assert agency("init", target, *FLAGS) == 3
        return
    clone.chmod(0o555)
    assert agency("init", clone, *FLAGS) == 3
