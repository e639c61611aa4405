"""Build step of the wheel: the catalogue of secrets goes into the package that reads it.

A checkout has the catalogue in `secrets/` at the top, where Nix reads it too. Everything else of
the build is in pyproject.toml.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CATALOGUE = "secrets/catalogue.json"


class BuildWithCatalogue(build_py):
    """The usual step for Python files, and one file more."""

    def _target(self) -> str:
        return str(Path(self.build_lib) / "agency" / CATALOGUE)

    def run(self) -> None:
        """Build, and copy the catalogue; an editable install reads the checkout's."""
        super().run()
        if not self.editable_mode:
            self.mkpath(str(Path(self._target()).parent))
            self.copy_file(CATALOGUE, self._target(), preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the files that the step makes."""
        made = [] if self.editable_mode else [self._target()]
        return [*super().get_outputs(include_bytecode), *made]

    def get_source_files(self) -> list[str]:
        """List the files that a source distribution must hold for the step."""
        return [*super().get_source_files(), CATALOGUE]


setup(cmdclass={"build_py": BuildWithCatalogue})
