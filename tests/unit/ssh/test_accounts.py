"""The file of passwords: its owner's alone, and with everybody in it who talks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agency.errors import AgencyError, BadInputError, PrerequisiteError
from agency.instance.load import load_instance
from agency.source_digest import source_root
from agency.spinup.targets.ssh.accounts import load_accounts

INSTANCE = load_instance(source_root() / "instance").instance
BOTH = {"@alice:agency.example": "secret-one", "@visitor:agency.example": "secret-two"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "passwords.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(BOTH))
    return path


def test_everybody_who_talks_is_in_it(file: Path) -> None:
    found = load_accounts(file, INSTANCE)
    assert {who: value.reveal() for who, value in found.items()} == BOTH
    assert "secret-one" not in repr(found)


@pytest.mark.parametrize("who", BOTH)
def test_somebody_who_is_missing_is_named(file: Path, who: str) -> None:
    file.write_text(json.dumps({k: v for k, v in BOTH.items() if k != who}))
    with pytest.raises(PrerequisiteError, match=who):
        load_accounts(file, INSTANCE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(PrerequisiteError, match="others"):
        load_accounts(file, INSTANCE)


def test_a_link_a_directory_and_nothing_are_refused(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (link, tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(AgencyError):
            load_accounts(path, INSTANCE)


@pytest.mark.parametrize(
    "text",
    ["", "secret-one", "[]", '{"@alice:agency.example": 1}', '{"@a:b": ""}', '{"a": "b"', "1"],
)
def test_what_is_no_such_file_is_refused_without_a_word_of_it(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInputError) as caught:
        load_accounts(file, INSTANCE)
    assert "secret-one" not in str(caught.value)
