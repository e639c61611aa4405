"""The secrets of one run in a guest: an instance, an age key and values that end with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agency.errors import InternalError
from agency.instance.load import LoadedInstance
from agency.instance.secret_provider import sops_provider
from agency.secrets.encryption.age import AgeKey, new_key, store_key
from agency.secrets.names import OPERATOR_PASSWORD
from agency.secrets.providers import SopsProvider
from agency.secrets.values import SecretValue
from agency.spinup.targets.incus.instance import make_run_instance

_KEY_FILE = "age.key"


@dataclass(slots=True)
class RunSecrets:
    """Made below `directory`, which the run removes; there once `prepare` was called."""

    given: LoadedInstance
    directory: Path
    _key: AgeKey | None = field(default=None, repr=False)
    _loaded: LoadedInstance | None = None
    _provider: SopsProvider | None = field(default=None, repr=False)

    def prepare(self) -> LoadedInstance:
        """Make the key, the instance and its secrets; returns the instance.

        Raises:
            PrerequisiteError: age or sops is not installed.
        """
        key = self._key = new_key()
        store_key(key, self.directory / _KEY_FILE)
        loaded = self._loaded = make_run_instance(self.given, self.directory / "instance", key)
        self._provider = sops_provider(
            loaded, age_key_file=self.directory / _KEY_FILE, directory=self.directory
        )
        return loaded

    @property
    def key(self) -> AgeKey:
        """The run's age key."""
        if self._key is None:
            raise InternalError("the run's key was used before it was made")
        return self._key

    @property
    def loaded(self) -> LoadedInstance:
        """The run's instance."""
        if self._loaded is None:
            raise InternalError("the run's instance was used before it was made")
        return self._loaded

    @property
    def password(self) -> SecretValue:
        """The password of every account of the run."""
        return self.get(OPERATOR_PASSWORD)

    def get(self, name: str) -> SecretValue:
        """One secret."""
        if self._provider is None:
            raise InternalError("the run's secrets were used before they were made")
        return self._provider.get(name)

    def values(self) -> Sequence[SecretValue]:
        """Every value, the age key among them; none before they are made."""
        if self._provider is None or self._key is None:
            return []
        provider = self._provider
        key_lines = [
            SecretValue(line)
            for line in self._key.identity.reveal().splitlines()
            if line and not line.startswith("#")
        ]
        return [*(provider.get(name) for name in provider.names()), *key_lines]

    def close(self) -> None:
        """Forget the values."""
        if self._provider is not None:
            self._provider.close()
            self._provider = None
