"""Features whose programs are not written say so; they never pretend."""

import pytest

from agency.cli import cli, run
from agency.workspace.commands import FEATURES


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: " ".join(feature.words))
def test_an_unwritten_program_is_a_missing_prerequisite(feature, capsys):
    arguments = ["workspace", *feature.words, *(["pm"] if feature.of_agent else [])]
    assert run(cli, arguments, prog_name="agency") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "not part of this version" in said
    assert feature.option in said


def test_a_wrong_word_is_wrong_usage():
    assert run(cli, ["workspace", "teapot"], prog_name="agency") == 2
