"""Secrets of a run's app: made once, the same through all stages, in a file with mode 0600.

The file is destroyed at teardown, and by the janitor where a run was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agency.files import write_atomically
from agency.recipes.journal import Censor
from agency.secrets import SecretValue


@dataclass(slots=True)
class Sidecar:
    """The secrets by name; each is known to the censor before it is stored."""

    path: Path
    censor: Censor
    _values: dict[str, SecretValue] = field(default_factory=dict)

    def add(self, made: Mapping[str, str]) -> None:
        """Keep secrets that abra made; those made before keep their values."""
        values = {name: SecretValue(value) for name, value in made.items()}
        self.censor.add(values.values())
        self._values = {**values, **self._values}
        write_atomically(self.path, json.dumps(self.reveal()).encode(), mode=0o600)

    def reveal(self) -> dict[str, str]:
        """Return the values, for the tests of the recipe that log in."""
        return {name: value.reveal() for name, value in self._values.items()}

    def destroy(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
