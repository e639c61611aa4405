"""The instance is found from below it, and only where it is this user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agency import cli
from agency.instance.check import default_directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "acme" / "generated" / "matrix").mkdir(parents=True)
    (tmp_path / "acme" / "instance.yaml").write_text("version: 2\n")
    return tmp_path / "acme"


@pytest.mark.parametrize("below", ["generated", "generated/matrix"])
def test_from_below(root: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    monkeypatch.chdir(root / below)
    assert default_directory() == root


def test_the_nearest_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert default_directory() == Path()
    (root / "instance").mkdir()
    (root / "instance" / "instance.yaml").write_text("")
    assert default_directory() == Path("instance")


def test_not_beyond_a_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "generated" / ".git").mkdir()
    monkeypatch.chdir(root / "generated" / "matrix")
    assert default_directory() == Path()
    (root / "generated" / ".git").rmdir()
    (root / ".git").mkdir()  # the instance itself is one, as it should be
    assert default_directory() == root


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_not_that_of_another_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(root / "instance.yaml", 54321, 54321)
    monkeypatch.chdir(root / "generated")
    assert default_directory() == Path()


@pytest.mark.parametrize("command", ["check", "render", "secrets list", "secrets doctor"])
def test_the_commands_use_it(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(root / "generated")
    assert cli.run(cli.cli, command.split(), prog_name="agency") == 1
    captured = capsys.readouterr()
    assert f"{root}/instance.yaml:1: version: must be 1" in captured.out + captured.err
