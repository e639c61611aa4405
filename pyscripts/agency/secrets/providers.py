"""Where secrets come from: one interface, a throwaway provider and one on sops."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self

from agency.errors import BadInputError, InternalError
from agency.files import write_atomically
from agency.instance.model import Instance
from agency.secrets.classes import SecretClass, SecretSpec, required_secrets
from agency.secrets.generators import Entropy, generate
from agency.secrets.values import SecretValue

DOCTOR_HINT = "run `agency secrets doctor`: it says what to do"


class SecretProvider(Protocol):
    """Gives the secrets of one instance; a context manager that ends in `close()`."""

    def get(self, name: str) -> SecretValue:
        """The value of a secret.

        Raises:
            BadInputError: the instance needs no such secret, or it is missing.
        """

    def names(self) -> tuple[str, ...]:
        """The names that `get` answers, in order."""

    def missing(self) -> tuple[SecretSpec, ...]:
        """What the instance needs and this provider does not have; optional ones are left out."""

    def credentials(self, names: Iterable[str]) -> Path:
        """A fresh directory (0700) with a file (0600) for each name: a $CREDENTIALS_DIRECTORY."""

    def close(self) -> None:
        """Destroy what the provider made; it answers nothing afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class CredentialFiles:
    """Directories with secrets as files, all destroyed by `close()`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Path] = []

    def write(self, values: dict[str, SecretValue]) -> Path:
        """Write one set of files below the directory, which is made (0700) when it is not there."""
        if not self._directory.exists():
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


class EphemeralProvider:
    """The secrets of a throwaway run: made when first asked for, gone at `close()`.

    External inputs (A1) are not made up: `missing()` names them.
    """

    def __init__(
        self,
        instance: Instance,
        directory: Path,
        *,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        self._specs = {spec.name: spec for spec in required_secrets(instance)}
        self._entropy = entropy
        self._values: dict[str, SecretValue] = {}
        self._files = CredentialFiles(directory)
        self._open = True

    def get(self, name: str) -> SecretValue:
        """The value of a secret; the same at every call."""
        if not self._open:
            raise InternalError("the provider of secrets is closed")
        spec = self._specs.get(name)
        if spec is None:
            raise unknown_secret(name)
        if spec.cls is SecretClass.A1:
            raise missing_secret(spec)
        if name not in self._values:
            self._values[name] = generate(spec.generator, self._entropy)
        return self._values[name]

    def names(self) -> tuple[str, ...]:
        """All but the external inputs."""
        return tuple(n for n, spec in self._specs.items() if spec.cls is not SecretClass.A1)

    def missing(self) -> tuple[SecretSpec, ...]:
        """The external inputs that are not optional."""
        return tuple(
            spec
            for spec in self._specs.values()
            if spec.cls is SecretClass.A1 and not spec.optional
        )

    def credentials(self, names: Iterable[str]) -> Path:
        """See SecretProvider."""
        return self._files.write({name: self.get(name) for name in names})

    def close(self) -> None:
        """Forget the values and remove the files."""
        self._open = False
        self._values.clear()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unknown_secret(name: str) -> BadInputError:
    """The error for a name that the instance does not need."""
    return BadInputError(
        f"this instance has no secret {name!r}",
        hint="run `agency secrets list` to see their names",
    )


def missing_secret(spec: SecretSpec) -> BadInputError:
    """The error for a secret that is needed and not there."""
    return BadInputError(
        f"the secret {spec.name!r} ({spec.description}) is missing", hint=DOCTOR_HINT
    )
