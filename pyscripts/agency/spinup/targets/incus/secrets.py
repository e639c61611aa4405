"""Secrets of one run in a guest: an instance, an age key and values that end with it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from agency.errors import PrerequisiteError
from agency.files import write_atomically
from agency.instance import (
    INSTANCE_FILE,
    Instance,
    LoadedInstance,
    load_instance,
    required_secrets,
    sops_provider,
    write_rendered,
)
from agency.secrets import (
    OPERATOR_PASSWORD,
    AgeKey,
    SecretClass,
    SecretValue,
    SopsProvider,
    generate,
    new_key,
    sops,
    store_key,
)
from agency.spinup.scenario.staging import stage

_KEY_FILE = "age.key"
_RECIPIENT = "run"


class Adds(Protocol):
    """Part of a profile, as far as it adds to the run's instance."""

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """Change the run's instance.yaml, as loaded."""

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:
        """Make the external secrets that it needs, by their names."""


@dataclass(frozen=True, slots=True)
class RunSecrets:
    """Instance of the run, the age key that opens it, and its values until `close`."""

    loaded: LoadedInstance
    key: AgeKey = field(repr=False)
    provider: SopsProvider = field(repr=False)

    @classmethod
    def make(cls, given: LoadedInstance, directory: Path, parts: Sequence[Adds] = ()) -> RunSecrets:
        """Make them below `directory`, which the run removes; `parts` add to the instance.

        Raises:
            PrerequisiteError: age or sops is not installed.
        """
        key = new_key()
        store_key(key, directory / _KEY_FILE)
        loaded = _make_instance(given, directory / "instance", key, parts)
        provider = sops_provider(loaded, age_key_file=directory / _KEY_FILE, directory=directory)
        return cls(loaded, key, provider)

    @property
    def password(self) -> SecretValue:
        """Password of every account of the run."""
        return self.get(OPERATOR_PASSWORD)

    def get(self, name: str) -> SecretValue:
        """Read one secret."""
        return self.provider.get(name)

    def values(self) -> Sequence[SecretValue]:
        """List every value, the age key among them."""
        key_lines = [
            SecretValue(line)
            for line in self.key.identity.reveal().splitlines()
            if line and not line.startswith("#")
        ]
        return [*(self.get(name) for name in self.provider.names()), *key_lines]

    def close(self) -> None:
        """Forget the values."""
        self.provider.close()


def _make_instance(
    given: LoadedInstance, root: Path, key: AgeKey, parts: Sequence[Adds]
) -> LoadedInstance:
    """Write an instance that says what `given` says and whose secrets only `key` opens.

    It is staged for the conversation (`scenario/staging.py`). Every internal secret is new: nothing
    that guards a real machine goes into a throwaway one. External inputs are left out, unless a
    part makes one for this run.

    Raises:
        PrerequisiteError: sops is not installed, or the place cannot be written.
        InstanceError: `given` has changed since it was loaded, and is wrong now.
    """
    document: dict[str, Any] = yaml.safe_load(given.path.read_bytes())
    document["secrets"] = {"provider": "sops", "recipients": {_RECIPIENT: key.recipient}}
    stage(given.instance).write(document)
    for part in parts:
        part.adapt(document)
    content = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    try:
        root.mkdir(mode=0o700, parents=True)
        write_atomically(root / INSTANCE_FILE, content)
        loaded = load_instance(root, check_recipients=False)
        values = {
            spec.name: generate(spec.generator)
            for spec in required_secrets(loaded.instance)
            if spec.cls is SecretClass.A2
        }
        for part in parts:
            # Of two parts that bring one secret, both have the first one's.
            values = {**part.secrets(loaded.instance), **values}
        (root / sops.SECRETS_FILE).parent.mkdir()
        write_atomically(root / sops.SECRETS_FILE, sops.encrypt(values, [key.recipient]))
        write_rendered(loaded)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot write the run's instance: {error.strerror or error}", where=str(root)
        ) from error
    return load_instance(root)
