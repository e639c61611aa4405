"""Files made of secrets that the instance's own services issue while they run.

The forge issues client ids and tokens after the machine has started. Services read them from files
with `@name@` in place of a secret. Until every secret of a file is issued, the file holds its
fallback, or is absent. The units that read a changed file are restarted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.programs import find_program, run_program
from agency.secrets.delivery.templates import fill

MAX_BYTES = 1024 * 1024
_STATE = ".seen.json"
_MODE = 0o400
_TIMEOUT_S = 30.0
# Characters that need no escaping in a JSON string or an environment file.
_PLAIN = re.compile(r"[!#-\[\]-~]+\Z")

FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
Unit = Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@-]{1,200}\.service$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComposedFile(_Strict):
    """One file. `secrets` maps each `@name@` in `content` to the file with its value."""

    name: FileName
    content: str
    fallback: str | None = None
    secrets: dict[str, Path]
    consumers: tuple[Unit, ...] = ()


class WatchedFile(_Strict):
    """A secret that units read unchanged."""

    path: Path
    consumers: tuple[Unit, ...] = ()


class ComposeConfig(_Strict):
    """Configuration of `agency secrets compose`."""

    directory: Path
    files: tuple[ComposedFile, ...] = ()
    watched: tuple[WatchedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Composed:
    """Result of a run: files by name, secrets by path, restarted units."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    restarted: tuple[str, ...]

    def as_dict(self) -> dict[str, list[str]]:
        """Return the result as `--json` prints it."""
        return {
            "changed": list(self.changed),
            "missing": list(self.missing),
            "restarted": list(self.restarted),
        }


Restart = Callable[[Sequence[str]], None]


def restart_units(units: Sequence[str]) -> None:
    """Ask systemd to restart units, and do not wait for it."""
    systemctl = find_program("systemctl", hint="this runs where systemd does")
    run_program([systemctl, "restart", "--no-block", *units], timeout=_TIMEOUT_S)


def read_config(file: Path) -> ComposeConfig:
    """Read the configuration.

    Raises:
        PrerequisiteError: the file cannot be read.
        BadInputError: the file is not a valid configuration.
    """
    data = _read(file)
    if data is None:
        raise PrerequisiteError("there is no such file", where=str(file))
    try:
        return ComposeConfig.model_validate_json(data)
    except ValidationError as error:
        told = error.errors(include_input=False, include_url=False)
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told)
        raise BadInputError(reasons, where=str(file)) from error


def compose(config: ComposeConfig, restart: Restart = restart_units) -> Composed:
    """Update every file from the issued secrets, then restart the readers of changed files.

    The first run of a boot restarts nothing: the readers start later.

    Raises:
        BadInputError: a secret has characters that would change the meaning of the file.
        PrerequisiteError: a file cannot be read or written.
    """
    directory = config.directory
    before = _seen(directory / _STATE)
    texts = {one.name: _text(one) for one in config.files}
    now = {name: _digest(text) for name, text in texts.items()}
    now |= {str(one.path): _digest(_read(one.path)) for one in config.watched}
    consumers = {one.name: one.consumers for one in config.files}
    consumers |= {str(one.path): one.consumers for one in config.watched}

    for name, text in texts.items():
        _put(directory / name, text)
    changed = tuple(sorted(name for name in now if before is None or before.get(name) != now[name]))
    units: set[str] = set()
    if before is not None:
        # A restart is of no use to the readers of a removed file.
        units = {unit for name in changed if now[name] is not None for unit in consumers[name]}
        if units:
            restart(sorted(units))
    # Last: when a restart fails, the next run tries it again.
    write_atomically(directory / _STATE, json.dumps(now).encode(), mode=_MODE)
    missing = tuple(sorted(_missing(config)))
    return Composed(changed, missing, tuple(sorted(units)))


def _missing(config: ComposeConfig) -> set[str]:
    paths = {path for one in config.files for path in one.secrets.values()}
    paths |= {one.path for one in config.watched}
    return {str(path) for path in paths if not path.exists()}


def _text(file: ComposedFile) -> bytes | None:
    values = {}
    for name, path in file.secrets.items():
        value = _read(path)
        if value is None:
            return None if file.fallback is None else file.fallback.encode()
        plain = value.decode(errors="replace").removesuffix("\n")
        if not _PLAIN.match(plain):
            raise BadInputError(
                f"the secret {name} holds characters that cannot stand in {file.name}",
                where=str(path),
                hint="it must be one line of printable ASCII without quotes and backslashes",
            )
        values[name] = plain
    return fill(file.content, values, where=file.name, absent={}).encode()


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be read: {error.strerror or error}", where=str(path)
        ) from error
    if len(data) > MAX_BYTES:
        raise BadInputError(f"larger than {MAX_BYTES} bytes", where=str(path))
    return data


def _put(path: Path, text: bytes | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    elif _read(path) != text:
        write_atomically(path, text, mode=_MODE)


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()


def _seen(state: Path) -> dict[str, str | None] | None:
    data = _read(state)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError:
        return {}  # unreadable: everything counts as changed, and the readers are restarted
    return found if isinstance(found, dict) else {}
