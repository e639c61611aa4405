"""Installer of a machine's secrets, for the units that load them: `agency secrets install`.

Its configuration is a JSON file that the machine's modules write. A run that finds every file
correct writes nothing; a secret that is no longer listed is removed.
"""

from __future__ import annotations

import contextlib
import pwd
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from agency import guarded
from agency.errors import AgencyError, BadInputError, ExitCode, PrerequisiteError
from agency.guarded import Owner
from agency.secrets.classes import Generator
from agency.secrets.delivery import places
from agency.secrets.delivery.templates import fill
from agency.secrets.encryption import sops
from agency.secrets.generators import Entropy, generate
from agency.secrets.values import SecretValue

MAX_CONFIG_BYTES = 1024 * 1024
_TEMPLATE_MODE = 0o400
_HINT = "the file is written by the machine's modules: change them, not it"


def _plain_path(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be an absolute path without ..")
    return path


PlainPath = Annotated[Path, AfterValidator(_plain_path)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WantedSecret(_Section):
    """One secret and its file; `generator` makes it when the provider is ephemeral."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    owner: str
    mode: Literal["0400", "0440", "0600", "0640"]
    path: PlainPath
    generator: Generator | None = None


class WantedTemplate(_Section):
    """A file made of several secrets: `@name@` stands for the secret of that name."""

    name: str
    content: str
    path: PlainPath


class InstallConfig(_Section):
    """Configuration of the installer, which owns `directory`; every path lies below it."""

    provider: Literal["sops", "ephemeral"]
    file: PlainPath
    age_key_file: PlainPath
    directory: PlainPath = Path("/run/secrets")
    secrets: tuple[WantedSecret, ...]
    templates: tuple[WantedTemplate, ...] = ()


def load_config(path: Path) -> InstallConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: the file is not a valid configuration.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror or error}", where=str(path), hint=_HINT
        ) from error
    if len(data) > MAX_CONFIG_BYTES:
        raise BadInputError(f"larger than {MAX_CONFIG_BYTES} bytes", where=str(path), hint=_HINT)
    try:
        config = InstallConfig.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise BadInputError(f"{place}: {first['msg']}", where=str(path), hint=_HINT) from error
    _check_paths(config, path)
    return config


def _check_paths(config: InstallConfig, source: Path) -> None:
    seen: set[Path] = set()
    everything: tuple[WantedSecret | WantedTemplate, ...] = (*config.secrets, *config.templates)
    for wanted in everything:
        inside = config.directory in wanted.path.parents
        if not inside or wanted.path in seen:
            reason = "is used twice" if inside else f"is not below {config.directory}"
            raise BadInputError(
                f"{wanted.name}: the path {wanted.path} {reason}", where=str(source), hint=_HINT
            )
        seen.add(wanted.path)


@dataclass(slots=True)
class Installed:
    """Report of a run, by names; it holds no value."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, AgencyError] = field(default_factory=dict)

    @property
    def exit_code(self) -> ExitCode:
        """1 when a secret or a template could not be put in place."""
        return ExitCode.BAD if self.failed else ExitCode.DONE

    def as_dict(self) -> dict[str, object]:
        """Return the report as `--json` prints it."""
        return {
            "written": self.written,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "failed": {name: error.as_dict() for name, error in self.failed.items()},
        }


@dataclass(frozen=True, slots=True)
class Installer:
    """Installer of the secrets of one configuration."""

    config: InstallConfig
    entropy: Entropy = secrets.token_bytes
    file_system: Callable[[int], str] = places.file_system_of

    def run(self) -> Installed:
        """Install every secret and template; a failure of one does not stop the others.

        Raises:
            PrerequisiteError: nothing can be decrypted, or the directory cannot be used.
            BadInputError: the encrypted file is damaged.
        """
        report = Installed()
        values: dict[str, SecretValue] = {}
        with contextlib.ExitStack() as stack:
            directories = {
                parent: stack.enter_context(places.open_place(parent, file_system=self.file_system))
                for parent in self._parents()
            }
            obtain = self._source(directories)
            for secret in self.config.secrets:
                with _caught(report, secret.name):
                    value = obtain(secret)
                    data = value.reveal().encode()
                    owner, mode = _owner(secret.owner), int(secret.mode, 8)
                    _place(report, secret, directories, data, owner, mode)
                    values[secret.name] = value
            for template in self.config.templates:
                with _caught(report, template.name):
                    data = self._filled(template, values).encode()
                    owner = _owner("root")
                    _place(report, template, directories, data, owner, _TEMPLATE_MODE)
            for parent, descriptor in directories.items():
                gone = guarded.remove_others(descriptor, self._kept(parent))
                report.removed += [str(parent / name) for name in gone]
        return report

    def _wanted(self) -> Iterable[WantedSecret | WantedTemplate]:
        return (*self.config.secrets, *self.config.templates)

    def _filled(self, template: WantedTemplate, values: Mapping[str, SecretValue]) -> str:
        return fill(
            template.content,
            {name: value.reveal() for name, value in values.items()},
            where=template.name,
            absent={secret.name: "could not be had" for secret in self.config.secrets},
        )

    def _parents(self) -> list[Path]:
        return sorted({self.config.directory, *(one.path.parent for one in self._wanted())})

    def _kept(self, parent: Path) -> frozenset[str]:
        return frozenset(one.path.name for one in self._wanted() if one.path.parent == parent)

    def _source(self, directories: Mapping[Path, int]) -> Callable[[WantedSecret], SecretValue]:
        if self.config.provider == "ephemeral":
            return lambda secret: self._made(secret, directories[secret.path.parent])
        if not self.config.secrets:
            return _missing
        decrypted = sops.decrypt(self.config.file, self.config.age_key_file)

        def obtain(secret: WantedSecret) -> SecretValue:
            value = decrypted.get(secret.name)
            return value if value is not None and value.reveal() else _missing(secret)

        return obtain

    def _made(self, secret: WantedSecret, directory: int) -> SecretValue:
        """Reuse the present value or generate one; ephemeral secrets last until the next boot."""
        present = guarded.read(directory, secret.path.name)
        if present:
            with contextlib.suppress(UnicodeDecodeError):
                return SecretValue(present.decode())
        if secret.generator in {None, Generator.EXTERNAL}:
            raise BadInputError(
                "nothing here can make it: an operator brings it",
                where=secret.name,
                hint="set secrets.provider to sops in instance.yaml and put it in",
            )
        assert secret.generator is not None
        return generate(secret.generator, self.entropy)


def _missing(secret: WantedSecret) -> SecretValue:
    raise BadInputError(
        "is not in the encrypted file, or is empty",
        where=secret.name,
        hint="run `agency secrets doctor` on the instance: it says what to do",
    )


@contextlib.contextmanager
def _caught(report: Installed, name: str) -> Iterator[None]:
    try:
        yield
    except AgencyError as error:
        report.failed[name] = error


def _place(
    report: Installed,
    wanted: WantedSecret | WantedTemplate,
    directories: Mapping[Path, int],
    data: bytes,
    owner: Owner,
    mode: int,
) -> None:
    directory, name = directories[wanted.path.parent], wanted.path.name
    if guarded.is_as_wanted(directory, name, data, owner, mode):
        report.unchanged.append(wanted.name)
        return
    guarded.write(directory, name, data, owner, mode)
    report.written.append(wanted.name)


def _owner(name: str) -> Owner:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise BadInputError(
            f"there is no user {name!r} to own it", where="owner", hint="make the user first"
        ) from None
    return Owner(entry.pw_uid, entry.pw_gid)
