"""Programs that are not written say so; they never pretend."""

import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.unwritten import FEATURES, UNWRITTEN, facts


@pytest.mark.parametrize("entry", UNWRITTEN, ids=lambda entry: " ".join(entry.words))
def test_an_unwritten_program_is_a_missing_prerequisite(entry, capsys):
    flags = [word for flag in entry.flags for word in (flag, "1")]
    arguments = [*entry.words, *flags, *("pm" for _ in entry.arguments)]
    assert run(cli, arguments, prog_name="agency") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "not part of this version" in said
    assert entry.option in said


def test_nix_is_told_every_feature_and_every_command():
    told = facts()
    assert set(told) == set(FEATURES)
    commands = [tuple(words) for one in told.values() for words in one["commands"]]
    assert sorted(commands) == sorted(entry.words for entry in UNWRITTEN)
    assert {entry.option for entry in UNWRITTEN} == {one["option"] for one in told.values()}


def test_a_wrong_word_is_wrong_usage():
    assert run(cli, ["workspace", "teapot"], prog_name="agency") == 2
