"""The secrets of one run in a guest: an instance, an age key and values that end with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agency.instance import LoadedInstance, sops_provider
from agency.secrets import OPERATOR_PASSWORD, AgeKey, SecretValue, SopsProvider, new_key, store_key
from agency.spinup.targets.incus.instance import make_run_instance

_KEY_FILE = "age.key"


@dataclass(frozen=True, slots=True)
class RunSecrets:
    """The run's instance, the age key that opens it, and its values until `close`."""

    loaded: LoadedInstance
    key: AgeKey = field(repr=False)
    provider: SopsProvider = field(repr=False)

    @classmethod
    def make(cls, given: LoadedInstance, directory: Path) -> RunSecrets:
        """Make them below `directory`, which the run removes.

        Raises:
            PrerequisiteError: age or sops is not installed.
        """
        key = new_key()
        store_key(key, directory / _KEY_FILE)
        loaded = make_run_instance(given, directory / "instance", key)
        provider = sops_provider(loaded, age_key_file=directory / _KEY_FILE, directory=directory)
        return cls(loaded, key, provider)

    @property
    def password(self) -> SecretValue:
        """The password of every account of the run."""
        return self.get(OPERATOR_PASSWORD)

    def get(self, name: str) -> SecretValue:
        """One secret."""
        return self.provider.get(name)

    def values(self) -> Sequence[SecretValue]:
        """Every value, the age key among them."""
        key_lines = [
            SecretValue(line)
            for line in self.key.identity.reveal().splitlines()
            if line and not line.startswith("#")
        ]
        return [*(self.get(name) for name in self.provider.names()), *key_lines]

    def close(self) -> None:
        """Forget the values."""
        self.provider.close()
