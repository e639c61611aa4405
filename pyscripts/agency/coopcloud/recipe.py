"""Files of a recipe, and the name of the stack of an app made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agency.canonical import canonical_json, sha256_hex
from agency.errors import PrerequisiteError

MAX_STACK_NAME = 45  # longer names are cut by abra


def stack_name(domain: str) -> str:
    """Return the name of an app's stack: abra replaces dots and truncates a long name."""
    return domain.replace(".", "_")[:MAX_STACK_NAME]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Files of a recipe in a directory that does not change, such as a path of the Nix store."""

    name: str
    source: Path

    def digest(self) -> str:
        """Compute SHA-256 over the names and contents of all files, git's own excepted.

        Raises:
            PrerequisiteError: there is no recipe.
        """
        if not (self.source / "compose.yml").is_file():
            raise PrerequisiteError(
                "no recipe is there: compose.yml is missing",
                where=str(self.source),
                hint="set recipeSource to a checkout of the recipe",
            )
        files = {
            str(path.relative_to(self.source)): sha256_hex(path.read_bytes())
            for path in sorted(self.source.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(self.source).parts
        }
        return sha256_hex(canonical_json(files))
