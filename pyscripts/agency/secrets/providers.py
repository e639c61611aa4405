"""Where secrets come from: one interface, a throwaway provider and one on sops."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, Self

from agency.errors import BadInputError, InternalError
from agency.files import write_atomically
from agency.secrets.classes import SecretClass, SecretSpec
from agency.secrets.encryption import sops
from agency.secrets.generators import Entropy, generate
from agency.secrets.values import SecretValue


class SecretProvider(Protocol):
    """Gives the secrets of one instance; a context manager that ends in `close()`."""

    def get(self, name: str) -> SecretValue:
        """The value of a secret; the same at every call.

        Raises:
            BadInputError: the instance needs no such secret, or it is missing.
            PrerequisiteError: this machine cannot decrypt it.
        """

    def names(self) -> tuple[str, ...]:
        """The names that `get` answers, in order."""

    def missing(self) -> tuple[SecretSpec, ...]:
        """What must be there before the instance can run, and is not."""

    def credentials(self, names: Iterable[str]) -> Path:
        """A fresh directory (0700) with a file (0600) for each name: a $CREDENTIALS_DIRECTORY."""

    def close(self) -> None:
        """Forget the values and remove the files; nothing is answered afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class CredentialFiles:
    """Directories with secrets as files, all removed by `close()`."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._made: list[Path] = []

    def write(self, values: Mapping[str, SecretValue]) -> Path:
        """Write one set of files; the directory is made (0700) when it is not there."""
        if self._directory is not None and not self._directory.exists():
            self._directory.mkdir(mode=0o700, parents=True)
            self._made.append(self._directory)
        target = Path(tempfile.mkdtemp(dir=self._directory, prefix="credentials-"))
        self._made.append(target)
        for name, value in values.items():
            write_atomically(target / name, value.reveal().encode(), mode=0o600)
        return target

    def close(self) -> None:
        """Remove all that was written."""
        while self._made:
            path = self._made.pop()
            if path.exists():
                shutil.rmtree(path)


class _Provider(ABC):
    """What the providers have in common: names, a memory, files, an end."""

    def __init__(
        self, specs: Iterable[SecretSpec], directory: Path | None, entropy: Entropy
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._entropy = entropy
        self._values: dict[str, SecretValue] = {}
        self._files = CredentialFiles(directory)
        self._open = True

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """See SecretProvider."""

    @abstractmethod
    def missing(self) -> tuple[SecretSpec, ...]:
        """See SecretProvider."""

    @abstractmethod
    def _obtain(self, spec: SecretSpec) -> SecretValue: ...

    def get(self, name: str) -> SecretValue:
        """See SecretProvider."""
        if not self._open:
            raise InternalError("the provider of secrets is closed")
        spec = self._specs.get(name)
        if spec is None:
            raise BadInputError(
                f"this instance has no secret {name!r}",
                hint="run `agency secrets list` to see their names",
            )
        if name not in self._values:
            self._values[name] = self._obtain(spec)
        return self._values[name]

    def credentials(self, names: Iterable[str]) -> Path:
        """See SecretProvider."""
        return self._files.write({name: self.get(name) for name in names})

    def close(self) -> None:
        """See SecretProvider."""
        self._open = False
        self._values.clear()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EphemeralProvider(_Provider):
    """The secrets of a throwaway run: made when first asked for, gone at `close()`.

    External inputs (A1) are not made up: `missing()` names them.
    """

    def __init__(
        self,
        specs: Iterable[SecretSpec],
        directory: Path,
        *,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        super().__init__(specs, directory, entropy)

    def names(self) -> tuple[str, ...]:
        """All but the external inputs."""
        return tuple(n for n, spec in self._specs.items() if spec.cls is not SecretClass.A1)

    def missing(self) -> tuple[SecretSpec, ...]:
        """The external inputs that are not optional."""
        specs = self._specs.values()
        return tuple(s for s in specs if s.cls is SecretClass.A1 and not s.optional)

    def _obtain(self, spec: SecretSpec) -> SecretValue:
        if spec.cls is SecretClass.A1:
            raise missing_secret(spec)
        return generate(spec.generator, self._entropy)


class SopsProvider(_Provider):
    """The secrets in `file`, decrypted by sops with `key_file` when the first one is asked for.

    Per-run secrets (B) are generated. `directory` is where `credentials` puts its files; without
    one they go below the directory for temporary files.
    """

    def __init__(
        self,
        specs: Iterable[SecretSpec],
        file: Path,
        key_file: Path | None,
        *,
        directory: Path | None = None,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        super().__init__(specs, directory, entropy)
        self._path = file
        self._key_file = key_file
        self._decrypted: dict[str, SecretValue] | None = None

    def names(self) -> tuple[str, ...]:
        """What is in the file (its keys are readable without a key), and the per-run secrets."""
        stored = sops.names_in_file(self._path)
        return tuple(
            name
            for name, spec in self._specs.items()
            if spec.cls is SecretClass.B or name in stored
        )

    def missing(self) -> tuple[SecretSpec, ...]:
        """What must be in the file and is not. Needs no key."""
        return missing_in_file(tuple(self._specs.values()), sops.names_in_file(self._path))

    def _obtain(self, spec: SecretSpec) -> SecretValue:
        if spec.cls is SecretClass.B:
            return generate(spec.generator, self._entropy)
        if self._decrypted is None:
            self._decrypted = sops.decrypt(self._path, self._key_file)
        value = self._decrypted.get(spec.name)
        if value is None or not value.reveal():
            raise missing_secret(spec)
        return value

    def close(self) -> None:
        """See SecretProvider."""
        super().close()
        self._decrypted = None


def missing_in_file(specs: Iterable[SecretSpec], stored: Iterable[str]) -> tuple[SecretSpec, ...]:
    """Of `specs`, those that must be in the encrypted file and are not among `stored`."""
    present = frozenset(stored)
    return tuple(
        spec for spec in specs if spec.stored and not spec.optional and spec.name not in present
    )


def missing_secret(spec: SecretSpec) -> BadInputError:
    """The error for a secret that is needed and not there."""
    return BadInputError(
        f"the secret {spec.name!r} ({spec.description}) is missing",
        hint="run `agency secrets doctor`: it says what to do",
    )
