"""Programs that are not written say so; they never pretend."""

import pytest

from agency.cli import cli
from agency.commandline.run import run
from agency.recipes.commands import UNWRITTEN as RECIPES
from agency.sandbox.commands import UNWRITTEN as SANDBOX
from agency.workspace.commands import UNWRITTEN as WORKSPACE

ALL = [
    (group, entry)
    for group, entries in (("workspace", WORKSPACE), ("recipes", RECIPES), ("sandbox", SANDBOX))
    for entry in entries
]


@pytest.mark.parametrize(
    ("group", "entry"), ALL, ids=[" ".join((group, *entry.words)) for group, entry in ALL]
)
def test_an_unwritten_program_is_a_missing_prerequisite(group, entry, capsys):
    flags = [word for flag in entry.flags for word in (flag, "1")]
    arguments = [group, *entry.words, *flags, *("pm" for _ in entry.arguments)]
    assert run(cli, arguments, prog_name="agency") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "not part of this version" in said
    assert entry.option in said


def test_a_wrong_word_is_wrong_usage():
    assert run(cli, ["workspace", "teapot"], prog_name="agency") == 2
