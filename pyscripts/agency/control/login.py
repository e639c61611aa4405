"""Login data of an operator, for programs that act in the control room for a person."""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
)

from agency import naming
from agency.errors import BadInputError, PrerequisiteError
from agency.files import write_atomically
from agency.paths import state_dir
from agency.settings import Strict, explain

_MAX_BYTES = 64 * 1024
_UP = "start a local agency with `agency up`, or name a file with --login"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_homeserver(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ValueError("must be an http or https URL")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, or the access token would travel in the clear")
    return url.rstrip("/")


class Login(Strict):
    """Login of a person: homeserver, user, control room. The access token is never shown."""

    homeserver: Annotated[str, AfterValidator(_check_homeserver)]
    user_id: str = Field(pattern=r"^@[^:\s]+:\S+$")
    access_token: SecretStr = Field(min_length=1)
    control_room: str = Field(pattern=r"^!\S+$", description="the room's id")
    bot_id: str = Field(
        default="", description="control plane's user; default: the one on the user's server"
    )

    @property
    def bot(self) -> str:
        """The Matrix id of the control plane's user."""
        domain = self.user_id.partition(":")[2]
        return self.bot_id or naming.matrix_id(naming.CONTROL_LOCALPART, domain)

    @field_serializer("access_token", when_used="json")
    def _write_token(self, token: SecretStr) -> str:
        return token.get_secret_value()


def default_login_file() -> Path:
    """Return the path where the local agency writes its operator's login data."""
    return state_dir() / "local" / "login.json"


def write_login(path: Path, login: Login) -> None:
    """Write login data to a file that only its owner can read (mode 0600).

    Raises:
        PrerequisiteError: the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"cannot be made: {error.strerror}", where=str(path.parent)
        ) from error
    write_atomically(path, login.model_dump_json(indent=2).encode() + b"\n", mode=0o600)


def read_login(path: Path) -> Login:
    """Read login data.

    Raises:
        PrerequisiteError: the file is missing, or users other than its owner may read it.
        BadInputError: the file does not hold login data.
    """
    where = str(path)
    try:
        with path.open("rb") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            data = handle.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise PrerequisiteError("there is no login data here", where=where, hint=_UP) from error
    except OSError as error:
        raise PrerequisiteError(f"cannot read: {error.strerror}", where=where, hint=_UP) from error
    if mode & 0o077:
        raise PrerequisiteError(
            f"others may read this access token (mode {mode:04o})",
            where=where,
            hint=f"chmod 600 {path}",
        )
    if len(data) > _MAX_BYTES:
        raise BadInputError(f"has more than {_MAX_BYTES} bytes", where=where, hint=_UP)
    try:
        return Login.model_validate_json(data)
    except ValidationError as error:
        raise BadInputError(f"not login data: {explain(error)}", where=where, hint=_UP) from None
