"""The agency's own program as files, so that two installations of it can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import agency
from agency.canonical import canonical_json, sha256_hex
from agency.secrets import CATALOGUE, catalogue_file

# What every way of installing keeps, byte for byte.
_SUFFIXES = frozenset((".py", ".pyi", ".j2", ".json", ".ini", ".mako"))


class Program(BaseModel):
    """One installation: its version, and the SHA-256 of each file by its path in the package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """The digest of all of it: the SHA-256 of the canonical JSON of `files`."""
        return sha256_hex(canonical_json(self.files))

    def differing(self, other: Program) -> Iterator[str]:
        """Yield the paths of files that the two do not have alike, sorted."""
        for path in sorted(self.files.keys() | other.files.keys()):
            if self.files.get(path) != other.files.get(path):
                yield path


def this_program() -> Program:
    """Describe the program that runs this."""
    program = program_at(Path(agency.__file__).parent)
    # A checkout has it beside the package, a wheel in it: it counts as the same file.
    catalogue = {CATALOGUE: sha256_hex(catalogue_file().read_bytes())}
    return Program(version=program.version, files=program.files | catalogue)


def program_at(package: Path) -> Program:
    """Describe the program whose package is there."""
    files = {
        path.relative_to(package).as_posix(): sha256_hex(path.read_bytes())
        for path in sorted(package.rglob("*"))
        if path.suffix in _SUFFIXES and path.is_file()
    }
    return Program(version=agency.__version__, files=files)
