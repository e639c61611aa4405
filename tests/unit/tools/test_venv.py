"""A virtual environment that was made for another place is made anew."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setup


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A real virtual environment, without pip: those are made fast. In a path with spaces."""
    venv = tmp_path_factory.mktemp("a place") / "checkout" / ".venv"
    argv = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(argv, check=True, timeout=60)
    return venv


@pytest.fixture
def at(monkeypatch):
    """Let set-up be that of a checkout whose virtual environment this is."""

    def at(venv):
        monkeypatch.setattr(setup, "VENV", venv)
        setup.remove_stray_venv()
        return venv

    return at


def test_where_it_was_made_it_stays(original, at, capsys):
    assert setup.made_for(original) == original
    assert at(original).exists()
    assert capsys.readouterr().out == ""


def test_in_a_copied_checkout_it_goes_and_the_original_stays(original, at, tmp_path, capsys):
    copy = tmp_path / "copy" / ".venv"
    shutil.copytree(original, copy, symlinks=True)
    assert not at(copy).exists()
    assert original.exists()
    assert f"made for {original}" in capsys.readouterr().out


def test_in_a_renamed_checkout_it_goes(original, at, tmp_path):
    shutil.copytree(original.parent, tmp_path / "before", symlinks=True)
    (tmp_path / "before").rename(tmp_path / "after")
    assert not at(tmp_path / "after" / ".venv").exists()


def test_a_link_to_that_of_another_checkout_goes_and_nothing_else(original, at, tmp_path):
    link = tmp_path / ".venv"
    link.symlink_to(original)
    assert not at(link).is_symlink()
    assert original.exists()


def test_one_whose_python_is_gone_goes(original, at, tmp_path, capsys):
    venv = tmp_path / ".venv"
    venv.mkdir()
    (venv / "pyvenv.cfg").write_text(f"command = /gone/python3 -m venv {venv}\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to("/gone/python3")
    assert not at(venv).exists()
    assert "gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("command = /usr/bin/python3 -m venv /a b/.venv\n", "/a b/.venv"),
        ("home = /x\ncommand = /p -m venv --copies --upgrade-deps /a/.venv\n", "/a/.venv"),
        ("home = /x\n", None),
        ("", None),
    ],
)
def test_what_it_says_of_itself(text, expected, tmp_path):
    (tmp_path / "pyvenv.cfg").write_text(text)
    assert setup.made_for(tmp_path) == (Path(expected) if expected else None)


def test_where_there_is_none_nothing_happens(at, tmp_path, capsys):
    assert not at(tmp_path / ".venv").exists()
    assert capsys.readouterr().out == ""
