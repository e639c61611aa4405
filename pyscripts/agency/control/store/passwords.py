"""The secrets that a database URL holds."""

from __future__ import annotations

from agency.secrets import SecretValue
from agency.store import parse_url


def url_secrets(database: str) -> tuple[SecretValue, ...]:
    """Return the password in a SQLAlchemy URL, if it has one."""
    password = parse_url(database).password
    return (SecretValue(str(password)),) if password else ()
