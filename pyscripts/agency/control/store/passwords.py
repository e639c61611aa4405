"""The secrets that a database URL holds."""

from __future__ import annotations

from agency.secrets.values import SecretValue
from agency.store import parse_url


def url_secrets(database: str) -> tuple[SecretValue, ...]:
    """The password in a SQLAlchemy URL, where there is one."""
    password = parse_url(database).password
    return (SecretValue(str(password)),) if password else ()
