"""A password in the database's URL is a secret that the control plane knows."""

from __future__ import annotations

import pytest

from agency.control.store.passwords import url_secrets
from agency.errors import InternalError
from agency.secrets.redact import Redactor


def test_a_password_is_found_as_it_is_used() -> None:
    (secret,) = url_secrets("postgresql://agency:p%40ss-word@db/agency")
    assert secret.reveal() == "p@ss-word"
    assert "p@ss" not in str(secret)


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite:////var/lib/x.db", "postgresql+asyncpg:///a?host=/run/postgresql"]
)
def test_without_a_password_there_is_none(url: str) -> None:
    assert url_secrets(url) == ()


def test_one_too_short_to_be_redacted_stops_the_showing() -> None:
    with pytest.raises(InternalError, match="cannot be redacted"):
        Redactor(url_secrets("postgresql://agency:short@db/agency"))
