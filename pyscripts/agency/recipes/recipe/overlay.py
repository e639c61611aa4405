"""Overlay of the tests: `compose.ccci.yml`, one compose file over the recipe's own.

What a recipe's users run is the recipe without it, so it must say why it is needed, and may not
change which image is tested.
"""

from __future__ import annotations

from pathlib import Path

from agency.canonical import sha256_hex
from agency.errors import BadInputError
from agency.recipes.facts import Overlay
from agency.recipes.recipe.files import read_file

OVERLAY = "compose.ccci.yml"
_LEAST_LETTERS = 20
_MOST = 500


def read_overlay(tests: Path | None) -> Overlay | None:
    """Read the overlay of a directory of tests; None if there is none.

    Raises:
        BadInputError: its first lines are no comment that says why.
    """
    text = read_file(tests, OVERLAY, missing="") if tests else ""
    if not text.strip():
        return None
    why = _header(text)
    if sum(letter.isalpha() for letter in why) < _LEAST_LETTERS:
        raise BadInputError(
            "an overlay must say in its first comment why it is needed",
            where=f"{tests}/{OVERLAY}:1",
            hint="such as `# abra takes no variable for start_period; slow hosts need 10 minutes`",
        )
    return Overlay(OVERLAY, why[:_MOST], text, sha256_hex(text.encode()))


def _header(text: str) -> str:
    """Return the comment with which a text begins."""
    lines = []
    for line in text.lstrip().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return " ".join(" ".join(lines).split())
