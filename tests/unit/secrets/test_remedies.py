"""Commands in the remedies of secrets: a shell reads the directory as one word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from agency.secrets import SecretSpec, how_to_rotate, load_catalogue, remedy

ROOT = Path("/home/me/my agency")
SPECS = {
    "brought": load_catalogue().spec("wildcard-certificate", domains="a.example"),
    "generated": load_catalogue().spec("matrix-as-token"),
    "of a feature": load_catalogue().spec(load_catalogue().of_features()[0], agent="pm"),
}


def words(told: str) -> list[str]:
    """Return the words of the one command of `agency secrets` in a text."""
    (command,) = re.findall(r"`(agency secrets [^`]*)`", told)
    return shlex.split(command)


@pytest.mark.parametrize("kind", SPECS)
def test_directory_with_a_space_is_one_word(kind: str) -> None:
    spec: SecretSpec = SPECS[kind]
    assert words(remedy(spec, ROOT))[-1] == str(ROOT)


@pytest.mark.parametrize("kind", ["brought", "generated"])
def test_directory_of_a_rotation_is_one_word(kind: str) -> None:
    assert words(how_to_rotate(SPECS[kind], str(ROOT)))[-1] == str(ROOT)
