"""Places of backups that an instance may name, and those it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agency.backup.opening import open_repository
from agency.backup.settings import BackupSettings
from agency.instance.model import Backup
from agency.secrets import DIRECTORY_VARIABLE

GOOD = (
    "/srv/disk/agency",
    "sftp:agency@backup.example.org:/srv/agency",
    "s3:s3.example.org/backups",
    "s3:https://s3.example.org:9000/backups/agency",
    "rest:https://backup.example.org/agency/",
    "rest:https://agency@backup.example.org:8000/",
    "rest:http://127.0.0.1:8000/",
    "rest:http://localhost:8000/",
    "b2:backups:agency",
)
IN_CLEAR = (
    "rest:http://backup.example.org/",
    "rest:HTTP://backup.example.org/",
    "s3:http://s3.example.org/backups",
    "rest:http://127.0.0.1.example.org/",
    "rest:http://localhost.example.org/",
    "rest:http://127.0.0.1:1@evil.example.org/",
)


def settings(repository: str) -> BackupSettings:
    return BackupSettings(instance="example", host="machine.example", repository=repository)


@pytest.mark.parametrize("place", GOOD)
def test_a_place_that_can_be(place: str) -> None:
    assert Backup(repository=place).repository == place
    assert settings(place).repository == place


@pytest.mark.parametrize("place", IN_CLEAR)
def test_credentials_do_not_travel_in_clear(place: str) -> None:
    """Whoever reads them on the way can remove the backups."""
    for make in (lambda: Backup(repository=place), lambda: settings(place)):
        with pytest.raises(ValidationError, match=r"clear: write https://|holds a password"):
            make()


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("rest:https://host.example/", "rest:https://a%40b:p%2F%3A%3F@host.example/"),
        ("rest:https://host.example", "rest:https://a%40b:p%2F%3A%3F@host.example"),
        ("rest:https://old@host.example:8000/x/y/", "rest:https://a%40b:p%2F%3A%3F@host.example:8000/x/y/"),
        ("s3:https://host.example/bucket", None),
        ("sftp:host.example:/x", None),
    ],
)  # fmt: skip
def test_the_login_of_a_rest_server_is_part_of_its_address_alone(
    place: str, address: str | None, tmp_path: Path
) -> None:
    (tmp_path / "backup-password").write_text("of tests")
    credentials = "RESTIC_REST_USERNAME=a@b RESTIC_REST_PASSWORD=p/:?"
    (tmp_path / "backup-repository-credentials").write_text(credentials)
    made = settings(place).model_copy(update={"state_dir": tmp_path / "state"})
    environ: dict[str, Any] = {DIRECTORY_VARIABLE: str(tmp_path)}
    opened = open_repository(made, environ)
    assert opened.environment.get("RESTIC_REPOSITORY") == address
    assert opened.location == place
    assert "p/:?" not in repr(opened)
    assert "p%2F" not in repr(opened)
