"""Log-ins at registries, from a configuration of Docker (`config.json`), for a run's images.

The run pulls such images itself before abra deploys: abra is not known to hand log-ins on, and a
node runs an image that it has although it cannot ask the registry for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agency.errors import BadInputError, PrerequisiteError
from agency.secrets import SecretValue

_HUB = "docker.io"
_HUB_KEY = "https://index.docker.io/v1/"  # Docker's own key for it
_MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Login:
    """User and password at one registry."""

    user: str
    password: SecretValue = field(repr=False)

    def auth(self) -> dict[str, str]:
        """Return what Docker's interface takes."""
        return {"username": self.user, "password": self.password.reveal()}


@dataclass(frozen=True, slots=True)
class Registries:
    """Log-ins by the registry's host."""

    logins: Mapping[str, Login] = field(default_factory=dict)

    def login(self, image: str) -> Login | None:
        """Return the log-in for an image; None where it is pulled without one."""
        return self.logins.get(full_name(image).partition("/")[0])

    def secrets(self) -> tuple[SecretValue, ...]:
        """List what no log may show."""
        return tuple(
            value
            for one in self.logins.values()
            for value in (one.password, SecretValue(_encoded(one)))
        )


NO_REGISTRIES = Registries()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auth: Annotated[str, Field(max_length=16384)] = ""
    username: str = ""
    password: str = ""


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auths: Annotated[dict[str, _Entry], Field(max_length=100)]


def read_registries(path: Path) -> Registries:
    """Read the log-ins of a file.

    Raises:
        PrerequisiteError: it cannot be read.
        BadInputError: it is no configuration of Docker; nothing of it is told.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
        config = _Config.model_validate_json(data)
        logins = {_host(key): _login(entry) for key, entry in config.auths.items()}
    except OSError as error:
        raise PrerequisiteError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValidationError, ValueError):
        raise BadInputError(
            "not a configuration of Docker with log-ins",
            where=str(path),
            hint='`docker login` writes one: {"auths": {"registry.example.org": {"auth": "..."}}}',
        ) from None
    return Registries(logins)


def full_name(image: str) -> str:
    """Return an image's name with its registry: Docker's hub is the one that nobody writes."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{_HUB}/{image}" if slash else f"{_HUB}/library/{image}"


def _host(key: str) -> str:
    if key == _HUB_KEY:
        return _HUB
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _login(entry: _Entry) -> Login:
    user, password = entry.username, entry.password
    if entry.auth:
        try:
            pair = base64.b64decode(entry.auth, validate=True).decode()
        except binascii.Error as error:
            raise ValueError from error
        user, _, password = pair.partition(":")
    if not user or not password:
        raise ValueError
    return Login(user, SecretValue(password))


def _encoded(login: Login) -> str:
    return base64.b64encode(f"{login.user}:{login.password.reveal()}".encode()).decode()
