"""Providers of secrets: the interface, a throwaway provider and one that reads a sops file."""

from __future__ import annotations

import json
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
from agency.secrets.encryption.keys import Keys
from agency.secrets.generators import Entropy, generate
from agency.secrets.values import SecretValue


class SecretProvider(Protocol):
    """Source of one instance's secrets; a context manager that ends in `close()`."""

    def get(self, name: str) -> SecretValue:
        """Return the value of a secret; every call gives the same value.

        Raises:
            BadInputError: the instance needs no such secret, or it is missing.
            PrerequisiteError: this machine cannot decrypt it.
        """

    def names(self) -> tuple[str, ...]:
        """Return the names that `get` accepts, in order."""

    def missing(self) -> tuple[SecretSpec, ...]:
        """Return the secrets that the instance needs before it can run and does not have."""

    def credentials(self, names: Iterable[str]) -> Path:
        """Make a fresh $CREDENTIALS_DIRECTORY (0700) with one file (0600) for each name."""

    def close(self) -> None:
        """Forget the values and remove the files; later calls of `get` fail."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class CredentialFiles:
    """Directories with secrets as files, all removed by `close()`."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._made: list[Path] = []

    def write(self, values: Mapping[str, SecretValue]) -> Path:
        """Write one set of files; a missing parent directory is created (0700)."""
        if self._directory is not None and not self._directory.exists():
            self._directory.mkdir(mode=0o700, parents=True)
            self._made.append(self._directory)
        target = Path(tempfile.mkdtemp(dir=self._directory, prefix="credentials-"))
        self._made.append(target)
        for name, value in values.items():
            write_atomically(target / name, value.reveal().encode(), mode=0o600)
        return target

    def close(self) -> None:
        """Remove everything that was written."""
        while self._made:
            path = self._made.pop()
            if path.exists():
                shutil.rmtree(path)


class Generated:
    """Generated values; those in `file` (0600), if there is one, outlive the provider."""

    def __init__(self, entropy: Entropy, file: Path | None) -> None:
        self._entropy = entropy
        self._file = file

    def value(self, spec: SecretSpec) -> SecretValue:
        """Return the kept value of a secret, or generate one and keep it."""
        kept = self._read()
        if spec.name in kept:
            return SecretValue(kept[spec.name])
        made = generate(spec.generator, self._entropy)
        if self._file is not None:
            content = json.dumps({**kept, spec.name: made.reveal()}).encode()
            write_atomically(self._file, content, mode=0o600)
        return made

    def _read(self) -> dict[str, str]:
        try:
            text = self._file.read_text() if self._file is not None else "{}"
            return {str(name): str(value) for name, value in json.loads(text).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):  # its text is not shown: it may hold secrets
            raise BadInputError("the kept secrets cannot be read", where=str(self._file)) from None


class _Provider(ABC):
    """Common base of the providers: specifications, cached values, credential files, closing."""

    def __init__(
        self,
        specs: Iterable[SecretSpec],
        directory: Path | None,
        entropy: Entropy,
        kept: Path | None = None,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._generated = Generated(entropy, kept)
        self._values: dict[str, SecretValue] = {}
        self._files = CredentialFiles(directory)
        self._open = True

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Implement `SecretProvider.names`."""

    @abstractmethod
    def missing(self) -> tuple[SecretSpec, ...]:
        """Implement `SecretProvider.missing`."""

    @abstractmethod
    def _obtain(self, spec: SecretSpec) -> SecretValue: ...

    def get(self, name: str) -> SecretValue:
        """Implement `SecretProvider.get`; a value is obtained once."""
        if not self._open:
            raise InternalError("the provider of secrets is closed")
        spec = self._specs.get(name)
        if spec is None:
            raise unknown_secret(name)
        if name not in self._values:
            self._values[name] = self._obtain(spec)
        return self._values[name]

    def credentials(self, names: Iterable[str]) -> Path:
        """Implement `SecretProvider.credentials`."""
        return self._files.write({name: self.get(name) for name in names})

    def close(self) -> None:
        """Implement `SecretProvider.close`."""
        self._open = False
        self._values.clear()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EphemeralProvider(_Provider):
    """Secrets of a throwaway run: generated at first use, forgotten at `close()`.

    With `kept`, a file, the next provider with that file has the same ones. External inputs (A1)
    are not generated: `missing()` lists them.
    """

    def __init__(
        self,
        specs: Iterable[SecretSpec],
        directory: Path,
        *,
        entropy: Entropy = secrets.token_bytes,
        kept: Path | None = None,
    ) -> None:
        super().__init__(specs, directory, entropy, kept)

    def names(self) -> tuple[str, ...]:
        """Return all names but those of external inputs."""
        return tuple(n for n, spec in self._specs.items() if spec.cls is not SecretClass.A1)

    def missing(self) -> tuple[SecretSpec, ...]:
        """Return the external inputs that are not optional."""
        specs = self._specs.values()
        return tuple(s for s in specs if s.cls is SecretClass.A1 and not s.optional)

    def _obtain(self, spec: SecretSpec) -> SecretValue:
        if spec.cls is SecretClass.A1:
            raise missing_secret(spec)
        return self._generated.value(spec)


class SopsProvider(_Provider):
    """Secrets in `file`, decrypted by sops with one of `keys` at first use.

    Per-run secrets (B) are generated, and kept as EphemeralProvider does. `credentials` writes its
    files below `directory`, or below the directory for temporary files if that is None.
    """

    def __init__(
        self,
        specs: Iterable[SecretSpec],
        file: Path,
        keys: Keys,
        *,
        directory: Path | None = None,
        entropy: Entropy = secrets.token_bytes,
        kept: Path | None = None,
    ) -> None:
        super().__init__(specs, directory, entropy, kept)
        self._path = file
        self._keys = keys
        self._decrypted: dict[str, SecretValue] | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names in the file (readable without a key) and of the per-run secrets."""
        stored = sops.names_in_file(self._path)
        return tuple(
            name
            for name, spec in self._specs.items()
            if spec.cls is SecretClass.B or name in stored
        )

    def missing(self) -> tuple[SecretSpec, ...]:
        """Return the required secrets that the file lacks. Needs no key."""
        return missing_in_file(tuple(self._specs.values()), sops.names_in_file(self._path))

    def _obtain(self, spec: SecretSpec) -> SecretValue:
        if spec.cls is SecretClass.B:
            return self._generated.value(spec)
        if self._decrypted is None:
            self._decrypted = sops.decrypt(self._path, self._keys)
        value = self._decrypted.get(spec.name)
        if value is None or not value.reveal():
            raise missing_secret(spec)
        return value

    def close(self) -> None:
        """Close, and forget the decrypted values."""
        super().close()
        self._decrypted = None


def missing_in_file(specs: Iterable[SecretSpec], stored: Iterable[str]) -> tuple[SecretSpec, ...]:
    """Return those of `specs` that must be in the encrypted file and are not among `stored`."""
    present = frozenset(stored)
    return tuple(
        spec for spec in specs if spec.stored and not spec.optional and spec.name not in present
    )


def unknown_secret(name: str) -> BadInputError:
    """Make the error for a name that no secret of the instance has."""
    return BadInputError(
        f"this instance has no secret {name!r}",
        hint="run `agency secrets list` to see their names",
    )


def missing_secret(spec: SecretSpec) -> BadInputError:
    """Make the error for a required secret that is missing."""
    return BadInputError(
        f"the secret {spec.name!r} ({spec.description}) is missing",
        hint="run `agency secrets doctor`: it says what to do",
    )
